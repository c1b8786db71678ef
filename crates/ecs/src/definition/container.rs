//! One container of a definition, judged alone: the bounds that AWS documents for
//! its parameters and that its model does not state.

use super::within;
use crate::Error;
use crate::records::NetworkMode;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use wire::ecs::{ContainerDefinition, HealthCheck, LinuxParameters};

/// The least memory that a container can be limited to, in MiB.
const LEAST_MEMORY: i32 = 4;

/// Whether the container is sound, wherever it runs.
pub(super) fn check(name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    image(container.image.as_deref().unwrap_or_default())?;
    let wrong = |what: &str| Err(invalid(name, what));
    if container.cpu.is_some_and(|units| units < 0) {
        return wrong("'cpu' must not be negative.");
    }
    memory(name, container.memory, container.memory_reservation)?;
    if container.stop_timeout.is_some_and(|seconds| seconds < 0) {
        return wrong("'stopTimeout' must not be negative.");
    }
    if container.start_timeout.is_some_and(|seconds| seconds < 0) {
        return wrong("'startTimeout' must not be negative.");
    }
    let unnamed = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    if container.environment.iter().flatten().any(|pair| unnamed(&pair.name)) {
        return wrong("Environment variables must have a name.");
    }
    if container.mount_points.iter().flatten().any(|mount| unnamed(&mount.container_path)) {
        return wrong("Mount points must have a container path.");
    }
    let paths = container.mount_points.iter().flatten().map(|mount| &mount.container_path);
    if let Some(Some(path)) = repeated(paths) {
        return wrong(&format!("Duplicate mount point '{path}'."));
    }
    if let Some(check) = &container.health_check {
        health_check(name, check)?;
    }
    if let Some(linux) = &container.linux_parameters {
        linux_parameters(name, linux)?;
    }
    if let Some(policy) = &container.restart_policy {
        let period = policy.restart_attempt_period;
        bounded(name, "restartPolicy.restartAttemptPeriod", period, 60..=1800)?;
    }
    ulimits(name, container)
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

/// Whether nothing is asked for that the task's own interface has no use for.
pub(super) fn fits_awsvpc(name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let forbidden = [
        ("links", given(&container.links)),
        ("hostname", container.hostname.is_some()),
        ("dnsServers", given(&container.dns_servers)),
        ("dnsSearchDomains", given(&container.dns_search_domains)),
        ("extraHosts", container.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())),
    ];
    match forbidden.into_iter().find(|(_, there)| *there) {
        None => Ok(()),
        Some((what, _)) => Err(Error::refused(format!(
            "'{what}' is not supported on container '{name}' when networkMode={}.",
            NetworkMode::Awsvpc.as_str()
        ))),
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

fn health_check(name: &str, check: &HealthCheck) -> Result<(), Error> {
    if check.command.as_ref().is_none_or(Vec::is_empty) {
        return Err(invalid(name, "'healthCheck.command' must not be empty."));
    }
    for (what, number, bounds) in [
        ("healthCheck.interval", check.interval, 5..=300),
        ("healthCheck.timeout", check.timeout, 2..=120),
        ("healthCheck.retries", check.retries, 1..=10),
        ("healthCheck.startPeriod", check.start_period, 0..=300),
    ] {
        bounded(name, what, number, bounds)?;
    }
    Ok(())
}

fn linux_parameters(name: &str, linux: &LinuxParameters) -> Result<(), Error> {
    let sizes = linux.tmpfs.iter().flatten().map(|mount| mount.size);
    let sizes = sizes.map(|size| ("linuxParameters.tmpfs.size", size, 1..=i32::MAX));
    let own = [
        ("linuxParameters.swappiness", linux.swappiness, 0..=100),
        ("linuxParameters.maxSwap", linux.max_swap, 0..=i32::MAX),
        ("linuxParameters.sharedMemorySize", linux.shared_memory_size, 1..=i32::MAX),
    ];
    for (what, number, bounds) in own.into_iter().chain(sizes) {
        bounded(name, what, number, bounds)?;
    }
    Ok(())
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

fn bounded(
    name: &str,
    what: &str,
    number: Option<i32>,
    bounds: RangeInclusive<i32>,
) -> Result<(), Error> {
    within(what, number, &bounds).map_err(|text| invalid(name, &text))
}

fn invalid(name: &str, what: &str) -> Error {
    Error::refused(format!("Invalid setting for container '{name}'. {what}"))
}

/// The first thing that comes a second time.
pub(super) fn repeated<T: Ord + Copy>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    all.find(|it| !seen.insert(*it))
}
