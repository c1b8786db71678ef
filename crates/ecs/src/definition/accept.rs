//! Taking a task definition in: checked, and filled in where AWS fills it in.
//!
//! The model's own constraints (required, enumerations, types) have been checked
//! on the way in; here are the rules that span several parameters.

use super::size::{fits_fargate, parse_cpu, parse_memory};
use crate::Error;
use crate::records::{NetworkMode, Spec, tags};
use ident::{Family, Tags};
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, PortMapping, RegisterTaskDefinitionRequest};

/// As many containers as a task may have.
const MAX_CONTAINERS: usize = 10;
/// What a task on EC2 may ask for, in CPU units.
const TASK_CPU: std::ops::RangeInclusive<i64> = 128..=196_608;

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
    for container in &mut spec.container_definitions {
        ports(network_mode, container)?;
        fill_in(container);
    }
    if spec.requires_compatibilities.iter().any(|wanted| wanted == "FARGATE") {
        fargate(&spec)?;
    }
    Ok((family, spec, tags(request.tags)))
}

/// Checks the task's own size and writes it in plain units, as AWS does.
fn size(spec: &mut Spec) -> Result<(), Error> {
    if let Some(text) = &spec.cpu {
        let cpu = parse_cpu(text).filter(|cpu| TASK_CPU.contains(cpu));
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
    Ok(())
}

fn container_alone(spec: &Spec, name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    if container.image.as_deref().unwrap_or_default().is_empty() {
        return Err(Error::refused("Container.image should not be null or empty."));
    }
    let (hard, soft) = (container.memory, container.memory_reservation);
    if hard.is_none() && soft.is_none() && spec.memory.is_none() {
        return Err(Error::refused(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or \
             'memoryReservation' must be specified."
        )));
    }
    let wrong =
        |what: &str| Err(Error::refused(format!("Invalid setting for container '{name}'. {what}")));
    if hard.is_some_and(|mib| mib < 4) || soft.is_some_and(|mib| mib < 4) {
        return wrong("Memory limits must be at least 4 MiB.");
    }
    if container.cpu.is_some_and(|units| units < 0) {
        return wrong("'cpu' must not be negative.");
    }
    if let (Some(hard), Some(soft)) = (hard, soft)
        && hard < soft
    {
        return wrong("'memory' must not be less than 'memoryReservation'.");
    }
    if spec.network_mode == NetworkMode::Awsvpc {
        let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
        let forbidden = [
            ("links", given(&container.links)),
            ("hostname", container.hostname.is_some()),
            ("dnsServers", given(&container.dns_servers)),
            ("dnsSearchDomains", given(&container.dns_search_domains)),
            ("extraHosts", container.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())),
        ];
        if let Some((what, _)) = forbidden.into_iter().find(|(_, there)| *there) {
            return Err(Error::refused(format!(
                "'{what}' is not supported on container '{name}' when networkMode=awsvpc."
            )));
        }
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

/// Checks the ports and fills in what the network mode says about them.
fn ports(mode: NetworkMode, container: &mut ContainerDefinition) -> Result<(), Error> {
    for mapping in container.port_mappings.iter_mut().flatten() {
        if let Some(protocol) = mapping.protocol.as_deref()
            && !matches!(protocol, "tcp" | "udp")
        {
            return Err(Error::refused(format!("Invalid protocol '{protocol}' in port mapping.")));
        }
        mapping.protocol.get_or_insert_with(|| "tcp".to_owned());
        if mapping.container_port_range.is_none() {
            one_port(mode, mapping)?;
        }
    }
    Ok(())
}

fn one_port(mode: NetworkMode, mapping: &mut PortMapping) -> Result<(), Error> {
    let Some(inside) = mapping.container_port else {
        return Err(Error::refused("Port mappings must have a container port."));
    };
    let outside = mapping.host_port;
    if !(1..=65535).contains(&inside) || !(0..=65535).contains(&outside.unwrap_or(0)) {
        return Err(Error::refused("Invalid port. Ports must be between 0 and 65535."));
    }
    match mode {
        NetworkMode::Awsvpc | NetworkMode::Host => {
            if outside.is_some_and(|outside| outside != inside) {
                return Err(Error::refused(format!(
                    "When networkMode={}, the host ports and container ports in port mappings \
                     must match.",
                    mode.as_str()
                )));
            }
            mapping.host_port = Some(inside);
        }
        // Zero is: any port of the host.
        NetworkMode::Bridge => mapping.host_port = Some(outside.unwrap_or(0)),
        NetworkMode::None => {
            return Err(Error::refused("Port mappings are not allowed when networkMode=none."));
        }
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
