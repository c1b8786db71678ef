//! Which container waits for which: `dependsOn`, `links` and `volumesFrom`.

use super::{given, invalid, repeated};
use crate::Error;
use crate::records::{NetworkMode, Spec};
use std::collections::BTreeSet;
use wire::ecs::ContainerDefinition;

/// Whether the containers can come up in the order that they are to.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let containers = &spec.container_definitions;
    let names: BTreeSet<&str> = containers.iter().map(name_of).collect();
    for container in containers {
        let name = name_of(container);
        if given(container.links.as_ref()) && spec.network_mode != NetworkMode::Bridge {
            return Err(Error::refused(format!(
                "Links are not supported when networkMode={}.",
                spec.network_mode.as_str()
            )));
        }
        if let Some(wanted) =
            waited_for(container).find(|wanted| !names.contains(wanted) || *wanted == name)
        {
            return Err(Error::refused(if wanted == name {
                format!("Container '{name}' refers to itself.")
            } else {
                format!("Container '{name}' refers to the unknown container '{wanted}'.")
            }));
        }
        let on = container.depends_on.iter().flatten();
        if let Some(Some(twice)) = repeated(on.map(|it| it.container_name.as_deref())) {
            return Err(invalid(name, &format!("Duplicate dependency on container '{twice}'.")));
        }
        conditions(containers, container)?;
    }
    order(containers)
}

fn name_of(container: &ContainerDefinition) -> &str {
    container.name.as_deref().unwrap_or_default()
}

/// The containers that must be there before `container` is.
fn waited_for(container: &ContainerDefinition) -> impl Iterator<Item = &str> {
    let on = container.depends_on.iter().flatten().map(|it| it.container_name.as_deref());
    let from = container.volumes_from.iter().flatten().map(|it| it.source_container.as_deref());
    // A link may give the other another name.
    let links = container.links.iter().flatten().map(|link| link.split(':').next());
    on.chain(from).chain(links).map(Option::unwrap_or_default)
}

/// Whether what `container` waits for can come about.
fn conditions(
    containers: &[ContainerDefinition],
    container: &ContainerDefinition,
) -> Result<(), Error> {
    let name = name_of(container);
    for wanted in container.depends_on.iter().flatten() {
        let on = wanted.container_name.as_deref().unwrap_or_default();
        let Some(other) = containers.iter().find(|it| name_of(it) == on) else { continue };
        let condition = wanted.condition.as_deref().unwrap_or_default();
        if condition == "HEALTHY" && other.health_check.is_none() {
            return Err(Error::refused(format!(
                "Container '{name}' depends on container '{on}' being HEALTHY, which has no \
                 health check."
            )));
        }
        // It would take the task with it when it ends.
        if matches!(condition, "COMPLETE" | "SUCCESS") && other.essential.unwrap_or(true) {
            return Err(Error::refused(format!(
                "Container '{name}' depends on the {condition} of container '{on}', which is \
                 essential."
            )));
        }
    }
    Ok(())
}

/// What waits for nothing that is left comes up; a circle stays.
fn order(containers: &[ContainerDefinition]) -> Result<(), Error> {
    let mut left: BTreeSet<&str> = containers.iter().map(name_of).collect();
    loop {
        let waits = |name: &&str| {
            let mut it = containers.iter().filter(|it| name_of(it) == *name).flat_map(waited_for);
            it.any(|other| left.contains(other))
        };
        let rest: BTreeSet<&str> = left.iter().copied().filter(waits).collect();
        if rest.is_empty() {
            return Ok(());
        }
        if rest.len() == left.len() {
            return Err(Error::refused("The dependencies of the containers form a circle."));
        }
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, containers, on, refused, web};
    use wire::ecs::{ContainerDefinition, HealthCheck, VolumeFrom};

    fn helper() -> ContainerDefinition {
        ContainerDefinition { name: Some("helper".to_owned()), essential: Some(false), ..web() }
    }

    #[test]
    fn accepted_and_refused() {
        let waiting = |condition: &str| ContainerDefinition {
            depends_on: Some(vec![on("helper", condition)]),
            ..web()
        };
        let checked = ContainerDefinition {
            health_check: Some(HealthCheck {
                command: Some(vec!["CMD".into(), "true".into()]),
                ..Default::default()
            }),
            ..helper()
        };
        let essential = ContainerDefinition { essential: Some(true), ..helper() };
        let bridge = |it: Vec<ContainerDefinition>| {
            let mut request = containers(it);
            request.network_mode = Some("bridge".to_owned());
            request
        };
        let linked =
            |link: &str| ContainerDefinition { links: Some(vec![link.to_owned()]), ..web() };
        let from = |name: &str| ContainerDefinition {
            volumes_from: Some(vec![VolumeFrom {
                source_container: Some(name.to_owned()),
                read_only: None,
            }]),
            ..web()
        };
        for request in [
            containers(vec![waiting("START"), helper()]),
            containers(vec![waiting("SUCCESS"), helper()]),
            containers(vec![waiting("HEALTHY"), checked]),
            bridge(vec![linked("helper:db"), helper()]),
            containers(vec![from("helper"), helper()]),
        ] {
            accepted(request);
        }
        let back = ContainerDefinition { depends_on: Some(vec![on("web", "START")]), ..helper() };
        for (request, wanted) in [
            (containers(vec![waiting("HEALTHY"), helper()]), "which has no health check."),
            (containers(vec![waiting("SUCCESS"), essential.clone()]), "which is essential."),
            (containers(vec![waiting("COMPLETE"), essential]), "which is essential."),
            (containers(vec![waiting("START")]), "refers to the unknown container 'helper'."),
            (containers(vec![from("web")]), "Container 'web' refers to itself."),
            (containers(vec![from("db")]), "refers to the unknown container 'db'."),
            (bridge(vec![linked("db")]), "refers to the unknown container 'db'."),
            (containers(vec![linked("helper"), helper()]), "Links are not supported"),
            (containers(vec![waiting("START"), back.clone()]), "form a circle."),
            (bridge(vec![linked("helper"), back]), "form a circle."),
            (
                containers(vec![
                    ContainerDefinition {
                        depends_on: Some(vec![on("helper", "START"), on("helper", "COMPLETE")]),
                        ..web()
                    },
                    helper(),
                ]),
                "Duplicate dependency on container 'helper'.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}
