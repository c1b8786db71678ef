//! The part of a container that arrives as Docker would have it: JSON of the Docker
//! Engine API.

use crate::engine::HealthCheck;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::acs;

/// The parts of Docker's container configuration that we obey, and the names of
/// those we do not. Docker's names are Go's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DockerConfig {
    pub(super) user: Option<String>,
    pub(super) working_dir: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) stop_signal: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) image: Option<String>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) tty: bool,
    pub(super) open_stdin: bool,
    pub(super) network_disabled: bool,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

/// Docker's health check: times in nanoseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Healthcheck {
    pub(super) test: Vec<String>,
    pub(super) interval: u64,
    pub(super) timeout: u64,
    pub(super) retries: u32,
    pub(super) start_period: u64,
}

impl Healthcheck {
    /// The same in the engine's words; nothing if it is switched off. What is not said
    /// is as Docker has it.
    pub(super) fn wish(&self) -> Result<Option<HealthCheck>, String> {
        let command = match self.test.split_first() {
            None => return Err("docker health check is empty".to_owned()),
            Some((how, rest)) => match how.as_str() {
                "NONE" => return Ok(None),
                "CMD" => rest.to_vec(),
                "CMD-SHELL" => [&["/bin/sh".to_owned(), "-c".to_owned()], rest].concat(),
                _ => return Err(format!("docker health check of an unknown kind {how}")),
            },
        };
        let or = |nanos: u64, default: u64| match nanos {
            0 => Duration::from_secs(default),
            _ => Duration::from_nanos(nanos),
        };
        Ok(Some(HealthCheck {
            command,
            interval: or(self.interval, 30),
            timeout: or(self.timeout, 30),
            retries: if self.retries == 0 { 3 } else { self.retries },
            start_period: Duration::from_nanos(self.start_period),
        }))
    }
}

/// The same for Docker's host configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    pub(super) network_mode: Option<String>,
    pub(super) privileged: bool,
    pub(super) readonly_rootfs: bool,
    pub(super) cap_add: Option<Vec<String>>,
    pub(super) cap_drop: Option<Vec<String>>,
    pub(super) ulimits: Option<Vec<Ulimit>>,
    pub(super) memory_reservation: u64,
    pub(super) sysctls: Option<BTreeMap<String, String>>,
    pub(super) shm_size: u64,
    pub(super) tmpfs: Option<BTreeMap<String, String>>,
    pub(super) extra_hosts: Option<Vec<String>>,
    pub(super) dns: Option<Vec<String>>,
    pub(super) dns_search: Option<Vec<String>>,
    pub(super) security_opt: Option<Vec<String>>,
    pub(super) devices: Option<Vec<DeviceMapping>>,
    pub(super) init: Option<bool>,
    pub(super) memory_swap: i64,
    pub(super) memory_swappiness: Option<i64>,
    pub(super) log_config: LogConfig,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

/// A device of the machine, under another name perhaps.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeviceMapping {
    pub(super) path_on_host: String,
    pub(super) path_in_container: String,
    pub(super) cgroup_permissions: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Ulimit {
    pub(super) name: String,
    pub(super) soft: i64,
    pub(super) hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct LogConfig {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) config: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Overrides {
    pub(super) command: Option<Vec<String>>,
}

pub(super) fn parse<T: Default + for<'a> Deserialize<'a>>(
    text: Option<&String>,
    what: &str,
) -> Result<T, String> {
    match text.map(String::as_str).filter(|text| !text.trim().is_empty()) {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str(text).map_err(|error| format!("{what}: {error}")),
    }
}

pub(super) fn docker(given: &acs::Container) -> Result<(DockerConfig, HostConfig), String> {
    let docker = given.docker_config.as_ref();
    let config = parse(docker.and_then(|d| d.config.as_ref()), "docker config")?;
    let host = parse(docker.and_then(|d| d.host_config.as_ref()), "docker host config")?;
    Ok((config, host))
}
