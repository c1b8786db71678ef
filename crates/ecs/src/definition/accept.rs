//! Taking a task definition in: checked, and filled in where AWS fills it in.
//!
//! The model's own constraints (required, enumerations, types) have been checked
//! on the way in; here are the rules that span several parameters.

use super::container::{self, repeated};
use super::size::{fits_fargate, parse_cpu, parse_memory, task_cpu};
use super::{ports, within};
use crate::Error;
use crate::records::{NetworkMode, Spec, tags};
use ident::{Family, Tags};
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, RegisterTaskDefinitionRequest};

/// As many containers as a task may have.
const MAX_CONTAINERS: usize = 10;
/// As large as a definition may be, in bytes of the JSON that it is kept as.
const MAX_SIZE: usize = 64 << 10;
/// As many placement constraints as a definition may have.
const MAX_CONSTRAINTS: usize = 10;

/// What `request` registers, if it is sound.
pub(crate) fn accept(
    request: RegisterTaskDefinitionRequest,
) -> Result<(Family, Spec, Tags), Error> {
    let family = request.family.unwrap_or_default();
    let family: Family =
        family.parse().map_err(|_| Error::refused("Family contains invalid characters."))?;
    let network_mode = match request.network_mode.as_deref() {
        None => NetworkMode::default(),
        Some(text) => NetworkMode::parse(text)
            .ok_or_else(|| Error::invalid(format!("Invalid network mode: {text}")))?,
    };
    let mut spec = Spec {
        container_definitions: request.container_definitions.unwrap_or_default(),
        volumes: request.volumes.unwrap_or_default(),
        placement_constraints: request.placement_constraints.unwrap_or_default(),
        network_mode,
        requires_compatibilities: request.requires_compatibilities.unwrap_or_default(),
        cpu: request.cpu,
        memory: request.memory,
        task_role_arn: request.task_role_arn,
        execution_role_arn: request.execution_role_arn,
        pid_mode: request.pid_mode,
        ipc_mode: request.ipc_mode,
        proxy_configuration: request.proxy_configuration,
        inference_accelerators: request.inference_accelerators.unwrap_or_default(),
        ephemeral_storage: request.ephemeral_storage,
        runtime_platform: request.runtime_platform,
        enable_fault_injection: request.enable_fault_injection,
        trusted_execution_configuration: request.trusted_execution_configuration,
    };
    size(&mut spec)?;
    containers(&spec)?;
    volumes(&spec)?;
    ports::settle(network_mode, &mut spec.container_definitions)?;
    spec.container_definitions.iter_mut().for_each(fill_in);
    let wants = |what: &str| spec.requires_compatibilities.iter().any(|wanted| wanted == what);
    if wants("FARGATE") {
        fargate(&spec)?;
    }
    if wants("EXTERNAL") && network_mode == NetworkMode::Awsvpc {
        return Err(Error::refused("External instances do not support network mode ‘awsvpc’."));
    }
    whole(&spec)?;
    Ok((family, spec, tags(request.tags)?))
}

/// Checks the task's own size and writes it in plain units, as AWS does.
fn size(spec: &mut Spec) -> Result<(), Error> {
    if let Some(text) = &spec.cpu {
        let cpu = task_cpu(text);
        let cpu = cpu.ok_or_else(|| Error::refused("Invalid 'cpu' setting for task."))?;
        spec.cpu = Some(cpu.to_string());
    }
    if let Some(text) = &spec.memory {
        let memory = parse_memory(text)
            .ok_or_else(|| Error::refused("Invalid 'memory' setting for task."))?;
        spec.memory = Some(memory.to_string());
    }
    Ok(())
}

fn containers(spec: &Spec) -> Result<(), Error> {
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
        if name.parse::<ident::ClusterName>().is_err() {
            return Err(Error::refused(format!(
                "Invalid container name '{name}'. Up to 255 letters (uppercase and lowercase), \
                 numbers, underscores, and hyphens are allowed."
            )));
        }
        if !names.insert(name) {
            return Err(Error::refused(format!("Container name '{name}' is not unique.")));
        }
        container_alone(spec, name, container)?;
    }
    if !containers.iter().any(|container| container.essential.unwrap_or(true)) {
        return Err(Error::refused(
            "A task definition must have at least one essential container.",
        ));
    }
    for container in containers {
        references(spec, container, &names)?;
    }
    order(containers)
}

fn container_alone(spec: &Spec, name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    let (hard, soft) = (container.memory, container.memory_reservation);
    if hard.is_none() && soft.is_none() && spec.memory.is_none() {
        return Err(Error::refused(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or \
             'memoryReservation' must be specified."
        )));
    }
    container::check(name, container)?;
    if spec.network_mode == NetworkMode::Awsvpc {
        container::fits_awsvpc(name, container)?;
    }
    Ok(())
}

/// Whatever a container refers to must be there.
fn references(
    spec: &Spec,
    container: &ContainerDefinition,
    names: &BTreeSet<&str>,
) -> Result<(), Error> {
    let volumes: BTreeSet<&str> =
        spec.volumes.iter().filter_map(|volume| volume.name.as_deref()).collect();
    for mount in container.mount_points.iter().flatten() {
        let wanted = mount.source_volume.as_deref().unwrap_or_default();
        if !volumes.contains(wanted) {
            return Err(Error::refused(format!("Unknown volume '{wanted}'.")));
        }
    }
    let others = container.depends_on.iter().flatten().map(|other| other.container_name.as_deref());
    let from = container.volumes_from.iter().flatten();
    let others = others.chain(from.map(|other| other.source_container.as_deref()));
    // A link may give the other another name.
    let links = container.links.iter().flatten();
    let others = others.chain(links.map(|link| link.split(':').next()));
    for wanted in others.map(Option::unwrap_or_default) {
        if !names.contains(wanted) || Some(wanted) == container.name.as_deref() {
            return Err(Error::refused(format!(
                "Container '{}' refers to the unknown container '{wanted}'.",
                container.name.as_deref().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Whether the containers can come up in the order that they are to.
fn order(containers: &[ContainerDefinition]) -> Result<(), Error> {
    let named = |name: Option<&str>| containers.iter().find(|it| it.name.as_deref() == name);
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        for wanted in container.depends_on.iter().flatten() {
            let Some(other) = named(wanted.container_name.as_deref()) else { continue };
            let on = other.name.as_deref().unwrap_or_default();
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
    }
    // What waits for nothing that is left comes up; a circle stays.
    let mut left: BTreeSet<&str> = containers.iter().filter_map(|it| it.name.as_deref()).collect();
    loop {
        let waits = |name: &&str| {
            let mut others =
                named(Some(name)).into_iter().flat_map(|it| it.depends_on.iter().flatten());
            others.any(|other| other.container_name.as_deref().is_some_and(|it| left.contains(it)))
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

fn volumes(spec: &Spec) -> Result<(), Error> {
    let names = || spec.volumes.iter().map(|volume| volume.name.as_deref().unwrap_or_default());
    if let Some(name) = names().find(|name| name.parse::<ident::ClusterName>().is_err()) {
        return Err(Error::refused(format!("Invalid volume name '{name}'.")));
    }
    match repeated(names()) {
        None => Ok(()),
        Some(name) => Err(Error::refused(format!("Volume name '{name}' is not unique."))),
    }
}

/// The bounds of what belongs to no one container.
fn whole(spec: &Spec) -> Result<(), Error> {
    if spec.placement_constraints.len() > MAX_CONSTRAINTS {
        return Err(Error::refused(format!(
            "A task definition can have at most {MAX_CONSTRAINTS} placement constraints."
        )));
    }
    let storage = spec.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gi_b);
    within("ephemeralStorage.sizeInGiB", storage, &(20..=200)).map_err(Error::refused)?;
    let length = serde_json::to_vec(spec)?.len();
    if length > MAX_SIZE {
        return Err(Error::refused(format!(
            "Actual length: '{length}'. Max allowed length is '{MAX_SIZE}' bytes."
        )));
    }
    Ok(())
}

/// What AWS shows of a container even if nobody gave it.
fn fill_in(container: &mut ContainerDefinition) {
    container.cpu.get_or_insert(0);
    container.essential.get_or_insert(true);
    container.port_mappings.get_or_insert_default();
    container.environment.get_or_insert_default();
    container.mount_points.get_or_insert_default();
    container.volumes_from.get_or_insert_default();
    container.system_controls.get_or_insert_default();
}

/// What Fargate insists on, if a definition says that it is for Fargate.
fn fargate(spec: &Spec) -> Result<(), Error> {
    if spec.network_mode != NetworkMode::Awsvpc {
        return Err(Error::refused("Fargate only supports network mode ‘awsvpc’."));
    }
    let level = |what: &str| {
        Error::refused(format!("Fargate requires that '{what}' be defined at the task level."))
    };
    let cpu = spec.cpu.as_deref().ok_or_else(|| level("cpu"))?;
    let memory = spec.memory.as_deref().ok_or_else(|| level("memory"))?;
    if !fits_fargate(parse_cpu(cpu).unwrap_or(0), parse_memory(memory).unwrap_or(0)) {
        return Err(Error::refused(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
