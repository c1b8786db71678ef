//! One container of a definition, judged alone: the bounds that AWS documents for
//! its parameters and that its model does not state.

use super::{blank, bounded, health, invalid, linux, repeated};
use crate::Error;
use crate::records::Spec;
use std::collections::BTreeSet;
use wire::ecs::ContainerDefinition;

/// As many containers as a task may have.
const MAX_CONTAINERS: usize = 10;
/// The least memory that a container can be limited to, in MiB.
const LEAST_MEMORY: i32 = 6;
/// As many exit codes as a restart policy may ignore.
const MAX_EXIT_CODES: usize = 50;

/// Whether every container is sound, wherever it runs, and one keeps the task up.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let containers = &spec.container_definitions;
    if containers.is_empty() {
        return Err(Error::refused("Container list cannot be empty."));
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(Error::refused(format!(
            "Too many containers. A task definition can have at most {MAX_CONTAINERS}."
        )));
    }
    let mut names = BTreeSet::new();
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Err(Error::refused("Container.name should not be null or empty."));
        }
        // The alphabet and length are those of clusters.
        if name.parse::<ident::ClusterName>().is_err() {
            return Err(Error::refused(format!(
                "Invalid container name '{name}'. Up to 255 letters (uppercase and lowercase), \
                 numbers, underscores, and hyphens are allowed."
            )));
        }
        if !names.insert(name) {
            return Err(Error::refused(format!("Container name '{name}' is not unique.")));
        }
        one(spec, name, container)?;
    }
    if containers.iter().any(|container| container.essential.unwrap_or(true)) {
        Ok(())
    } else {
        Err(Error::refused("A task definition must have at least one essential container."))
    }
}

fn one(spec: &Spec, name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    image(container.image.as_deref().unwrap_or_default())?;
    if container.cpu.is_some_and(|units| units < 0) {
        return Err(invalid(name, "'cpu' must not be negative."));
    }
    memory(name, container.memory, container.memory_reservation)?;
    bounded(name, "stopTimeout", container.stop_timeout, 0..=i32::MAX)?;
    bounded(name, "startTimeout", container.start_timeout, 0..=i32::MAX)?;
    if let Some(check) = &container.health_check {
        health::check(name, check)?;
    }
    if let Some(policy) = &container.restart_policy {
        let period = policy.restart_attempt_period;
        bounded(name, "restartPolicy.restartAttemptPeriod", period, 60..=1800)?;
        if policy.ignored_exit_codes.as_ref().is_some_and(|all| all.len() > MAX_EXIT_CODES) {
            return Err(invalid(
                name,
                &format!("'restartPolicy.ignoredExitCodes' can have at most {MAX_EXIT_CODES}."),
            ));
        }
    }
    linux::check(spec, container)?;
    ulimits(name, container)?;
    resources(spec, name, container)?;
    credentials(name, container)
}

/// Whether the limits on memory can be kept, and are in their order.
pub(crate) fn memory(name: &str, hard: Option<i32>, soft: Option<i32>) -> Result<(), Error> {
    if [hard, soft].into_iter().flatten().any(|mib| mib < LEAST_MEMORY) {
        let least = format!("Memory limits must be at least {LEAST_MEMORY} MiB.");
        return Err(invalid(name, &least));
    }
    match (hard, soft) {
        (Some(hard), Some(soft)) if hard < soft => {
            Err(invalid(name, "'memory' must not be less than 'memoryReservation'."))
        }
        _ => Ok(()),
    }
}

fn image(image: &str) -> Result<(), Error> {
    if image.is_empty() {
        return Err(Error::refused("Container.image should not be null or empty."));
    }
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:./#@+$".contains(&byte);
    if image.bytes().all(sound) {
        Ok(())
    } else {
        Err(Error::refused("Container.image contains invalid characters."))
    }
}

fn ulimits(name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    let limits = || container.ulimits.iter().flatten();
    if let Some(Some(twice)) = repeated(limits().map(|limit| &limit.name)) {
        return Err(invalid(name, &format!("Duplicate ulimit '{twice}'.")));
    }
    // Minus one is: no limit.
    let number = |given: Option<i32>| match given.unwrap_or(0) {
        -1 => i32::MAX,
        limit => limit,
    };
    match limits().find(|limit| number(limit.soft_limit) > number(limit.hard_limit)) {
        None => Ok(()),
        Some(limit) => {
            let which = limit.name.as_deref().unwrap_or_default();
            let text = format!("The soft limit of '{which}' must not exceed its hard limit.");
            Err(invalid(name, &text))
        }
    }
}

/// Accelerators: a number of GPUs, or one that the task names.
fn resources(spec: &Spec, name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    for wanted in container.resource_requirements.iter().flatten() {
        let value = wanted.value.as_deref().unwrap_or_default();
        match wanted.r#type.as_deref() {
            Some("InferenceAccelerator") => {
                let mut all = spec.inference_accelerators.iter();
                if !all.any(|it| it.device_name.as_deref() == Some(value)) {
                    return Err(invalid(
                        name,
                        &format!("The task has no inference accelerator '{value}'."),
                    ));
                }
            }
            Some("GPU")
                if wanted.sharing_strategy.is_none()
                    && !value.parse().is_ok_and(|n: u32| n > 0) =>
            {
                return Err(invalid(
                    name,
                    &format!("The number of GPUs must be a positive integer, not '{value}'."),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn credentials(name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    let all = container.credential_specs.as_deref().unwrap_or_default();
    let known = |it: &String| {
        it.starts_with("credentialspec:") || it.starts_with("credentialspecdomainless:")
    };
    if all.len() > 1 || !all.iter().all(known) {
        return Err(invalid(
            name,
            "'credentialSpecs' can have one entry, which begins with credentialspec: or \
             credentialspecdomainless:.",
        ));
    }
    let labels = container.docker_labels.iter().flat_map(|all| all.keys());
    if labels.into_iter().any(|key| blank(Some(key))) {
        return Err(invalid(name, "Docker labels must have a key."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, containers, refused, task, web};
    use super::*;
    use wire::ecs::{
        ContainerRestartPolicy, InferenceAccelerator, RegisterTaskDefinitionRequest,
        ResourceRequirement, Ulimit,
    };

    fn limits(all: &[(i32, i32)]) -> RegisterTaskDefinitionRequest {
        let limit = |(soft, hard): &(i32, i32)| Ulimit {
            name: Some("nofile".to_owned()),
            soft_limit: Some(*soft),
            hard_limit: Some(*hard),
        };
        container(|it| it.ulimits = Some(all.iter().map(limit).collect()))
    }

    fn resource(kind: &str, value: &str) -> RegisterTaskDefinitionRequest {
        let wanted = ResourceRequirement {
            r#type: Some(kind.to_owned()),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        container(|it| it.resource_requirements = Some(vec![wanted]))
    }

    fn policy(period: i32, codes: usize) -> RegisterTaskDefinitionRequest {
        container(|it| {
            it.restart_policy = Some(ContainerRestartPolicy {
                enabled: Some(true),
                restart_attempt_period: Some(period),
                ignored_exit_codes: Some(vec![0; codes]),
            });
        })
    }

    #[test]
    fn accepted_and_refused() {
        let numbered = |count: usize| {
            let name = |number| ContainerDefinition { name: Some(format!("c{number}")), ..web() };
            containers((0..count).map(name).collect())
        };
        let mut accelerated = resource("InferenceAccelerator", "eia");
        accelerated.inference_accelerators = Some(vec![InferenceAccelerator {
            device_name: Some("eia".to_owned()),
            device_type: Some("eia1.medium".to_owned()),
        }]);
        for request in [
            numbered(10),
            limits(&[(1, -1)]),
            resource("GPU", "2"),
            accelerated,
            policy(60, 50),
            container(|it| (it.memory, it.memory_reservation) = (Some(6), Some(6))),
            container(|it| it.credential_specs = Some(vec!["credentialspec:arn".to_owned()])),
        ] {
            accepted(request);
        }
        let named = |name: &str| container(|it| it.name = Some(name.to_owned()));
        for (request, wanted) in [
            (task(|it| it.container_definitions = Some(vec![])), "Container list cannot be empty."),
            (numbered(11), "A task definition can have at most 10."),
            (containers(vec![web(), web()]), "Container name 'web' is not unique."),
            (container(|it| it.name = None), "Container.name should not be null or empty."),
            (named("a b"), "Invalid container name 'a b'."),
            (named(&"x".repeat(256)), "Invalid container name"),
            (container(|it| it.image = None), "Container.image should not be null or empty."),
            (container(|it| it.image = Some("a b".into())), "contains invalid characters."),
            (container(|it| it.essential = Some(false)), "at least one essential container."),
            (container(|it| it.cpu = Some(-1)), "'cpu' must not be negative."),
            (container(|it| it.memory = Some(5)), "Memory limits must be at least 6 MiB."),
            (container(|it| it.memory_reservation = Some(65)), "must not be less than"),
            (container(|it| it.stop_timeout = Some(-1)), "'stopTimeout' must be at least 0."),
            (container(|it| it.start_timeout = Some(-1)), "'startTimeout' must be at least 0."),
            (limits(&[(2, 1)]), "must not exceed its hard limit."),
            (limits(&[(1, 2); 2]), "Duplicate ulimit 'nofile'."),
            (resource("GPU", "0"), "must be a positive integer, not '0'."),
            (resource("InferenceAccelerator", "eia"), "has no inference accelerator 'eia'."),
            (policy(59, 0), "'restartPolicy.restartAttemptPeriod' must be between 60 and 1800."),
            (policy(60, 51), "'restartPolicy.ignoredExitCodes' can have at most 50."),
            (
                container(|it| it.credential_specs = Some(vec!["file:x".to_owned()])),
                "'credentialSpecs' can have one entry",
            ),
            (
                container(|it| it.docker_labels = Some([(String::new(), "x".into())].into())),
                "a key.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}
