//! Compiling a task for its agent.
//!
//! Agents want a container as Docker would: most of a container definition travels
//! as JSON for the Docker Engine API inside the payload ([`super::docker`]). The
//! official agent and ours read the same.

use super::docker;
use crate::launch::override_of;
use crate::names;
use crate::records::{Container, Definition, Interface, NetworkMode, Task, TaskRole};
use ec2::records::{Subnet, Vpc};
use iam::task_roles;
use ident::{EniId, SubnetId};
use net::model;
use sched::lifecycle::Desired;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use store::View;
use wire::acs;
use wire::ecs::{ContainerDefinition, ContainerOverride, TaskOverride, Volume};

/// Why a task cannot be compiled: something that it refers to is not there.
#[derive(Debug, thiserror::Error)]
pub enum Uncompilable {
    /// Its definition.
    #[error("the definition {0} of the task does not exist")]
    NoDefinition(String),
    /// Where its interface is.
    #[error("subnet {0} of the task's interface does not exist, or not its VPC")]
    NoSubnet(SubnetId),
    /// One of our own values does not serialize.
    #[error("a value could not be encoded")]
    Encoding(#[from] serde_json::Error),
}

/// The task as its agent is told it, to be run or to be stopped.
pub fn compile(view: &View, task: &Task, desired: Desired) -> Result<acs::Task, Uncompilable> {
    let id = Definition::id_of(&task.family, task.revision);
    let definition = view
        .get::<Definition>(&task.scope, &id)
        .ok_or_else(|| Uncompilable::NoDefinition(id.clone()))?;
    let spec = &definition.spec;
    let mode = spec.network_mode;
    let containers = spec.container_definitions.iter().map(|it| container(task, it, mode));
    let interfaces = task.interface.iter().map(|eni| interface(view, task, eni));
    let limit =
        |over: &Option<String>, own: &Option<String>| over.as_ref().or(own.as_ref()).is_some();
    let has_cpu = limit(&task.overrides.cpu, &spec.cpu);
    let has_memory = limit(&task.overrides.memory, &spec.memory);
    Ok(acs::Task {
        arn: Some(task.arn().to_string()),
        task_cluster_arn: Some(names::cluster_arn(&task.scope, &task.cluster).to_string()),
        task_definition_account_id: Some(task.scope.account.to_string()),
        family: Some(task.family.to_string()),
        version: Some(task.revision.to_string()),
        desired_status: Some(desired.as_str().to_owned()),
        launch_type: Some(task.launch_type.as_str().to_owned()),
        network_mode: Some(mode.as_str().to_owned()),
        group: Some(task.group.clone()),
        zone: Some(task.zone.clone()).filter(|zone| !zone.is_empty()),
        // The task's own limits, which agents enforce around its containers; not
        // the sums that placement counts with.
        cpu: has_cpu.then(|| virtual_cpus(task.need.cpu_units)),
        memory: has_memory.then(|| i32::try_from(task.need.memory_mib).unwrap_or(i32::MAX)),
        pid_mode: spec.pid_mode.clone(),
        ipc_mode: spec.ipc_mode.clone(),
        containers: Some(containers.collect::<Result<_, _>>()?),
        elastic_network_interfaces: Some(interfaces.collect::<Result<Vec<_>, _>>()?)
            .filter(|list| !list.is_empty()),
        role_credentials: task.role.as_ref().and_then(|role| credentials(view, role)),
        execution_role_credentials: task
            .execution_role
            .as_ref()
            .and_then(|role| credentials(view, role)),
        volumes: Some(spec.volumes.iter().map(volume).collect()),
        associations: Some(gpus(task)).filter(|list| !list.is_empty()),
        ..Default::default()
    })
}

/// The credentials that a task has now, as its agent is told them.
pub(super) fn credentials(view: &View, role: &TaskRole) -> Option<acs::IAMRoleCredentials> {
    let session = task_roles::find(view, role.key.as_deref()?)?;
    Some(acs::IAMRoleCredentials {
        credentials_id: Some(role.credentials_id.clone()),
        role_arn: Some(role.arn.clone()),
        access_key_id: Some(session.id.clone()),
        secret_access_key: Some(session.secret.reveal().to_owned()),
        session_token: Some(session.token.reveal().to_owned()),
        expiration: wire::Timestamp::from(session.expires).iso8601(),
        ..Default::default()
    })
}

/// Which container has which GPUs. Agents take one container for each.
fn gpus(task: &Task) -> Vec<acs::Association> {
    let of = |container: &Container| {
        let name = container.name.clone();
        container.gpu_ids.clone().into_iter().map(move |id| acs::Association {
            containers: Some(vec![name.clone()]),
            content: None,
            name: Some(id),
            r#type: Some(acs::association_type::GPU.to_owned()),
        })
    };
    task.containers.iter().flat_map(of).collect()
}

/// CPU units as the payload has them: a number of virtual CPUs.
fn virtual_cpus(units: i64) -> f64 {
    f64::from(i32::try_from(units).unwrap_or(i32::MAX)) / 1024.0
}

fn container(
    task: &Task,
    definition: &ContainerDefinition,
    mode: NetworkMode,
) -> Result<acs::Container, Uncompilable> {
    let name = definition.name.clone().unwrap_or_default();
    let over = override_of(&task.overrides, &name);
    let launched = task.containers.iter().find(|container| container.name == name);
    let arn = launched
        .map(|one| names::container_arn(&task.scope, &task.cluster, &task.id, &one.id).to_string());
    let command = over.and_then(|over| over.command.clone()).or_else(|| definition.command.clone());
    let host_config = docker::host_config(definition, over, mode, task.id.as_str());
    Ok(acs::Container {
        container_arn: arn,
        image: definition.image.clone(),
        command,
        entry_point: definition.entry_point.clone(),
        cpu: Some(launched.map_or(0, |one| one.cpu)),
        memory: Some(launched.and_then(|one| one.memory).unwrap_or(0)),
        environment: Some(environment(definition, over)),
        essential: Some(definition.essential.unwrap_or(true)),
        links: Some(definition.links.clone().unwrap_or_default()),
        port_mappings: Some(port_mappings(definition, mode)),
        mount_points: Some(mount_points(definition)),
        volumes_from: Some(volumes_from(definition)),
        depends_on: depends_on(definition),
        environment_files: environment_files(definition),
        start_timeout: definition.start_timeout,
        stop_timeout: definition.stop_timeout,
        health_check_type: definition.health_check.as_ref().map(|_| "docker".to_owned()),
        restart_policy: definition.restart_policy.as_ref().map(|policy| acs::RestartPolicy {
            enabled: policy.enabled,
            ignored_exit_codes: policy.ignored_exit_codes.clone(),
            restart_attempt_period: policy.restart_attempt_period,
        }),
        overrides: Some(overrides(&task.overrides, &name)?),
        docker_config: Some(acs::DockerConfig {
            config: Some(serde_json::to_string(&docker::config(definition))?),
            host_config: Some(serde_json::to_string(&host_config)?),
            version: None,
        }),
        name: Some(name),
        ..Default::default()
    })
}

/// The variables with the overrides merged in: the agent sees the final map.
fn environment(
    definition: &ContainerDefinition,
    over: Option<&ContainerOverride>,
) -> BTreeMap<String, String> {
    let own = definition.environment.iter().flatten();
    let overridden = over.and_then(|over| over.environment.as_ref()).into_iter().flatten();
    own.chain(overridden)
        .filter_map(|pair| Some((pair.name.clone()?, pair.value.clone().unwrap_or_default())))
        .collect()
}

/// What the agent is to override itself, as the JSON that it wants: the command.
fn overrides(all: &TaskOverride, name: &str) -> Result<String, serde_json::Error> {
    let command = override_of(all, name).and_then(|over| over.command.as_ref());
    let object: BTreeMap<&str, &Vec<String>> =
        command.map(|command| ("command", command)).into_iter().collect();
    serde_json::to_string(&object)
}

/// In awsvpc mode there is nothing to map, and Docker refuses to try: the ports
/// are the interface's own.
fn port_mappings(definition: &ContainerDefinition, mode: NetworkMode) -> Vec<acs::PortMapping> {
    if mode != NetworkMode::Bridge {
        return vec![];
    }
    let mappings = definition.port_mappings.iter().flatten();
    mappings
        .map(|mapping| acs::PortMapping {
            container_port: mapping.container_port,
            container_port_range: mapping.container_port_range.clone(),
            host_port: mapping.host_port.or(mapping.container_port.map(|_| 0)),
            protocol: mapping.protocol.clone(),
        })
        .collect()
}

fn mount_points(definition: &ContainerDefinition) -> Vec<acs::MountPoint> {
    let mounts = definition.mount_points.iter().flatten();
    mounts
        .map(|mount| acs::MountPoint {
            container_path: mount.container_path.clone(),
            read_only: Some(mount.read_only.unwrap_or(false)),
            source_volume: mount.source_volume.clone(),
        })
        .collect()
}

fn volumes_from(definition: &ContainerDefinition) -> Vec<acs::VolumeFrom> {
    let others = definition.volumes_from.iter().flatten();
    others
        .map(|other| acs::VolumeFrom {
            read_only: Some(other.read_only.unwrap_or(false)),
            source_container: other.source_container.clone(),
        })
        .collect()
}

fn environment_files(definition: &ContainerDefinition) -> Option<Vec<acs::EnvironmentFile>> {
    let files = definition.environment_files.as_ref().filter(|files| !files.is_empty())?;
    let show = |file: &wire::ecs::EnvironmentFile| acs::EnvironmentFile {
        r#type: file.r#type.clone(),
        value: file.value.clone(),
    };
    Some(files.iter().map(show).collect())
}

fn depends_on(definition: &ContainerDefinition) -> Option<Vec<acs::ContainerDependency>> {
    let others = definition.depends_on.as_ref().filter(|others| !others.is_empty())?;
    let show = |other: &wire::ecs::ContainerDependency| acs::ContainerDependency {
        condition: other.condition.clone(),
        container_name: other.container_name.clone(),
    };
    Some(others.iter().map(show).collect())
}

fn volume(volume: &Volume) -> acs::Volume {
    let docker = volume.docker_volume_configuration.as_ref();
    let host = volume.host.as_ref().and_then(|host| host.source_path.clone());
    acs::Volume {
        name: volume.name.clone(),
        r#type: Some(if docker.is_some() { "docker" } else { "host" }.to_owned()),
        docker_volume_configuration: docker.map(|docker| acs::DockerVolumeConfiguration {
            autoprovision: docker.autoprovision,
            driver: docker.driver.clone(),
            driver_opts: docker.driver_opts.clone(),
            labels: docker.labels.clone(),
            scope: docker.scope.clone(),
        }),
        // Without a path, the runtime gives the task an empty volume of its own.
        host: docker
            .is_none()
            .then(|| acs::HostVolumeProperties { source_path: Some(host.unwrap_or_default()) }),
        ..Default::default()
    }
}

fn interface(
    view: &View,
    task: &Task,
    eni: &Interface,
) -> Result<acs::ElasticNetworkInterface, Uncompilable> {
    let Place { gateway, resolver, has_dns } =
        place(view, task, &eni.subnet).ok_or_else(|| Uncompilable::NoSubnet(eni.subnet.clone()))?;
    let id: &EniId = &eni.eni;
    Ok(acs::ElasticNetworkInterface {
        attachment_arn: Some(names::attachment_arn(&task.scope, &eni.attachment).to_string()),
        ec2_id: Some(id.to_string()),
        index: Some(0),
        interface_association_protocol: Some("default".to_owned()),
        mac_address: Some(eni.mac.to_string()),
        ipv4_addresses: Some(vec![acs::IPv4AddressAssignment {
            primary: Some(true),
            private_address: Some(eni.ipv4.to_string()),
        }]),
        subnet_gateway_ipv4_address: Some(gateway),
        domain_name_servers: Some(if has_dns { vec![resolver.to_string()] } else { vec![] }),
        domain_name: Some(vec![net::names::domain(task.scope.region.as_str())]),
        private_dns_name: eni.private_dns_name.clone(),
        ..Default::default()
    })
}

/// What a task must know of where its interface is.
struct Place {
    /// The VPC router's address, with the length of the subnet's prefix.
    gateway: String,
    /// The VPC's resolver.
    resolver: Ipv4Addr,
    /// Whether there is one.
    has_dns: bool,
}

fn place(view: &View, task: &Task, subnet: &SubnetId) -> Option<Place> {
    let subnet = view.get::<Subnet>(&task.scope, subnet.as_str())?;
    let vpc = view.get::<Vpc>(&task.scope, subnet.net.vpc.as_str())?;
    let net: &model::Subnet = &subnet.net;
    let base = vpc.net.cidrs.first()?.network();
    Some(Place {
        gateway: format!("{}/{}", net.gateway(), net.cidr.prefix_len()),
        resolver: Ipv4Addr::from(u32::from(base).saturating_add(2)),
        has_dns: vpc.enable_dns_support,
    })
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
