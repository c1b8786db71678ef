//! Becoming a container instance, and staying the same one.

use super::{Api, CallError, Identity};
use crate::config::Config;
use crate::error::Error;
use crate::rim::write_durably;
use std::fs;
use std::path::PathBuf;
use wire::ecs;

/// Docker API versions whose features task definitions may ask for. The official
/// agent skips the same ones.
const REMOTE_APIS: [&str; 13] = [
    "1.17", "1.18", "1.19", "1.20", "1.21", "1.22", "1.23", "1.24", "1.25", "1.28", "1.29", "1.30",
    "1.32",
];

/// What we can do, in the words that placement looks for. A capability is listed
/// when it works, not when it is planned.
const CAPABILITIES: [&str; 18] = [
    "com.amazonaws.ecs.capability.privileged-container",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    // As long as there is no log service, the output stays on the machine.
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.full-sync",
    "ecs.capability.container-ordering",
    "ecs.capability.container-health-check",
    "ecs.capability.container-restart-policy",
    "ecs.capability.network.container-port-range",
    "ecs.capability.docker-plugin.local",
    // From a directory of the machine, as long as there is no S3 here.
    "ecs.capability.env-files.s3",
    "ecs.capability.pid-ipc-namespace-sharing",
    "ecs.capability.task-cpu-mem-limit",
    "ecs.capability.increased-task-cpu-limit",
    "com.amazonaws.ecs.capability.task-iam-role",
    "com.amazonaws.ecs.capability.task-iam-role-network-host",
    "ecs.capability.task-eni",
    // We look for each interface by its hardware address, whatever carries it.
    "ecs.capability.task-eni-trunking",
];

/// TCP ports that belong to the machine.
const RESERVED_PORTS: [&str; 5] = ["22", "2375", "2376", "51678", "51679"];

/// The file that remembers which instance we are.
fn memory(config: &Config) -> PathBuf {
    config.data_dir.join("instance.arn")
}

/// CPU units and MiB of memory to offer.
pub fn resources(config: &Config) -> (i32, i32) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpu = config.cpu.map_or_else(|| cores.saturating_mul(1024), |cpu| cpu as usize);
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    let memory = config.memory_mib.map_or(kib.unwrap_or(0) / 1024, |mib| mib as usize);
    let narrow = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    (narrow(cpu), narrow(memory))
}

fn attributes(config: &Config) -> Vec<ecs::Attribute> {
    let attribute = |name: String, value: Option<String>| ecs::Attribute {
        name: Some(name),
        value,
        ..ecs::Attribute::default()
    };
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    let apis = REMOTE_APIS.map(|v| format!("com.amazonaws.ecs.capability.docker-remote-api.{v}"));
    let facts =
        [("ecs.os-type", "linux"), ("ecs.os-family", "LINUX"), ("ecs.cpu-architecture", arch)];
    let confines = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let confines = confines.is_ok_and(|text| text.trim() == "Y");
    let apparmor = confines.then(|| "com.amazonaws.ecs.capability.apparmor".to_owned());
    let given = config.attributes.iter();
    CAPABILITIES
        .map(str::to_owned)
        .into_iter()
        .chain(apis)
        .chain(apparmor)
        .map(|name| attribute(name, None))
        .chain(facts.map(|(name, value)| attribute(name.to_owned(), Some(value.to_owned()))))
        .chain(given.map(|(name, value)| attribute(name.clone(), Some(value.clone()))))
        .collect()
}

fn total(config: &Config) -> Vec<ecs::Resource> {
    let (cpu, memory) = resources(config);
    let number = |name: &str, value| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(value),
        ..ecs::Resource::default()
    };
    let ports = |name: &str, ports: &[&str]| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(ports.iter().map(ToString::to_string).collect()),
        ..ecs::Resource::default()
    };
    vec![
        number("CPU", cpu),
        number("MEMORY", memory),
        ports("PORTS", &RESERVED_PORTS),
        ports("PORTS_UDP", &[]),
    ]
}

impl Api {
    /// Registers, as the instance we were if we were one. `anew` forgets that:
    /// the control plane has said that it knows that instance no more.
    pub async fn register(
        &self,
        config: &Config,
        runtime: &str,
        anew: bool,
    ) -> Result<Identity, Error> {
        let known = fs::read_to_string(memory(config)).ok().filter(|_| !anew);
        let known = known.map(|arn| arn.trim().to_owned()).filter(|arn| !arn.is_empty());
        let mut request = ecs::RegisterContainerInstanceRequest {
            attributes: Some(attributes(config)),
            cluster: Some(config.cluster.clone()),
            container_instance_arn: known,
            instance_identity_document: Some(config.identity_document.clone()),
            instance_identity_document_signature: Some(config.identity_signature.clone()),
            total_resources: Some(total(config)),
            version_info: Some(ecs::VersionInfo {
                agent_hash: Some(crate::HASH.to_owned()),
                agent_version: Some(crate::VERSION.to_owned()),
                docker_version: Some(runtime.to_owned()),
            }),
            ..ecs::RegisterContainerInstanceRequest::default()
        };
        let refused = |error: CallError| Error::Refused(crate::error::chain(&error));
        let answer = match self.persist(&request).await {
            // The default cluster comes into being when it is first needed.
            Err(error) if error.is("ClusterNotFoundException") && config.cluster == "default" => {
                let create = ecs::CreateClusterRequest {
                    cluster_name: Some(config.cluster.clone()),
                    ..ecs::CreateClusterRequest::default()
                };
                self.persist(&create).await.map_err(refused)?;
                self.persist(&request).await.map_err(refused)?
            }
            // It does not know the instance we were: deregistered, or not the
            // control plane that we knew.
            Err(error) if request.container_instance_arn.is_some() && !error.is_passing() => {
                let error = crate::error::chain(&error);
                tracing::warn!(error, "registering as a new instance");
                request.container_instance_arn = None;
                self.persist(&request).await.map_err(refused)?
            }
            other => other.map_err(refused)?,
        };
        let ours = answer.container_instance.unwrap_or_default();
        let told = |name: &str| {
            let mut all = ours.attributes.iter().flatten();
            all.find(|it| it.name.as_deref() == Some(name)).and_then(|it| it.value.clone())
        };
        let (zone, vpc) = (told("ecs.availability-zone"), told("ecs.vpc-id"));
        let instance = ours
            .container_instance_arn
            .ok_or_else(|| Error::Refused("it gave us no ARN".to_owned()))?;
        write_durably(&memory(config), instance.as_bytes())?;
        tracing::info!(instance, cluster = config.cluster, "registered");
        let (cluster, runtime) = (config.cluster.clone(), runtime.to_owned());
        Ok(Identity { cluster, instance, runtime, zone, vpc })
    }
}
