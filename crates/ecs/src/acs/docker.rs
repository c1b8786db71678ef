//! The part of a container definition that agents take as Docker's own JSON:
//! names as in the Docker Engine API, sizes in bytes, times in nanoseconds.

use crate::records::NetworkMode;
use serde_json::{Map, Value, json};
use wire::ecs::{
    ContainerDefinition, ContainerOverride, Device, HealthCheck, HostEntry, LinuxParameters, Tmpfs,
};

const MIB: i64 = 1024 * 1024;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// An object that leaves out what nobody gave.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn set(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a list unless it is empty.
    fn list(&mut self, name: &str, list: Vec<Value>) -> &mut Self {
        self.set(name, Some(list).filter(|list| !list.is_empty()))
    }
}

/// Docker's `Config`: what the image would say by itself.
pub(super) fn config(definition: &ContainerDefinition) -> Value {
    let mut config = Object::default();
    config
        .set("User", definition.user.clone())
        .set("WorkingDir", definition.working_directory.clone())
        .set("Hostname", definition.hostname.clone())
        .set("Tty", definition.pseudo_terminal)
        .set("OpenStdin", definition.interactive)
        .set("NetworkDisabled", definition.disable_networking)
        .set("Labels", definition.docker_labels.as_ref().map(|labels| json!(labels)))
        .set("Healthcheck", definition.health_check.as_ref().map(health_check));
    Value::Object(config.0)
}

/// Docker's `HostConfig`: what the host has to do with it, for a container of the task with
/// this id.
pub(super) fn host_config(
    definition: &ContainerDefinition,
    over: Option<&ContainerOverride>,
    mode: NetworkMode,
    task_id: &str,
) -> Value {
    let soft = over.and_then(|o| o.memory_reservation).or(definition.memory_reservation);
    let mut host = Object::default();
    host.set("NetworkMode", Some(mode.as_str()))
        .set("Privileged", definition.privileged)
        .set("ReadonlyRootfs", definition.readonly_root_filesystem)
        .set("MemoryReservation", soft.map(|mib| i64::from(mib) * MIB))
        .set("LogConfig", log_config(definition, task_id))
        .set("Sysctls", sysctls(definition))
        .list("Dns", texts(definition.dns_servers.as_deref()))
        .list("DnsSearch", texts(definition.dns_search_domains.as_deref()))
        .list("SecurityOpt", texts(definition.docker_security_options.as_deref()))
        .list("ExtraHosts", extra_hosts(definition.extra_hosts.as_deref()))
        .list("Ulimits", ulimits(definition));
    if let Some(linux) = &definition.linux_parameters {
        let hard = over.and_then(|o| o.memory).or(definition.memory);
        linux_parameters(&mut host, linux, hard);
    }
    Value::Object(host.0)
}

/// The log driver. It is ECS that knows a prefix for the names of log streams; CloudWatch's
/// driver is told the whole name, as tasks see it in their metadata.
fn log_config(definition: &ContainerDefinition, task_id: &str) -> Option<Value> {
    let log = definition.log_configuration.as_ref()?;
    let mut options = log.options.clone().unwrap_or_default();
    if log.log_driver.as_deref() == Some("awslogs")
        && let Some(prefix) = options.remove("awslogs-stream-prefix")
    {
        let name = definition.name.as_deref().unwrap_or_default();
        options.insert("awslogs-stream".to_owned(), format!("{prefix}/{name}/{task_id}"));
    }
    Some(json!({ "Type": log.log_driver, "Config": options }))
}

fn texts(list: Option<&[String]>) -> Vec<Value> {
    list.unwrap_or_default().iter().map(|text| json!(text)).collect()
}

fn health_check(check: &HealthCheck) -> Value {
    let nanos = |seconds: Option<i32>| seconds.map(|s| i64::from(s) * NANOS_PER_SECOND);
    let mut object = Object::default();
    object
        .set("Test", check.command.clone())
        // AWS's defaults, which are Docker's except for the number of retries.
        .set("Interval", nanos(Some(check.interval.unwrap_or(30))))
        .set("Timeout", nanos(Some(check.timeout.unwrap_or(5))))
        .set("Retries", Some(check.retries.unwrap_or(3)))
        .set("StartPeriod", nanos(check.start_period));
    Value::Object(object.0)
}

fn extra_hosts(hosts: Option<&[HostEntry]>) -> Vec<Value> {
    let text = |host: &HostEntry| {
        let (name, address) = (host.hostname.as_deref(), host.ip_address.as_deref());
        json!(format!("{}:{}", name.unwrap_or_default(), address.unwrap_or_default()))
    };
    hosts.unwrap_or_default().iter().map(text).collect()
}

fn ulimits(definition: &ContainerDefinition) -> Vec<Value> {
    let limits = definition.ulimits.iter().flatten();
    limits
        .map(|limit| {
            json!({ "Name": limit.name, "Soft": limit.soft_limit, "Hard": limit.hard_limit })
        })
        .collect()
}

fn sysctls(definition: &ContainerDefinition) -> Option<Value> {
    let controls = definition.system_controls.as_ref().filter(|controls| !controls.is_empty())?;
    let pair = |control: &wire::ecs::SystemControl| {
        Some((control.namespace.clone()?, Value::String(control.value.clone()?)))
    };
    Some(Value::Object(controls.iter().filter_map(pair).collect()))
}

fn linux_parameters(host: &mut Object, linux: &LinuxParameters, hard_mib: Option<i32>) {
    if let Some(capabilities) = &linux.capabilities {
        host.list("CapAdd", texts(capabilities.add.as_deref()))
            .list("CapDrop", texts(capabilities.drop.as_deref()));
    }
    // Docker's limit is of memory and swap together.
    let swap = linux
        .max_swap
        .map(|swap| (i64::from(swap) + i64::from(hard_mib.unwrap_or_default())) * MIB);
    host.set("Init", linux.init_process_enabled)
        .set("ShmSize", linux.shared_memory_size.map(|mib| i64::from(mib) * MIB))
        .set("MemorySwap", swap)
        // Without a limit on swap it counts for nothing.
        .set("MemorySwappiness", linux.swappiness.filter(|_| linux.max_swap.is_some()))
        .set("Tmpfs", tmpfs(linux.tmpfs.as_deref()))
        .list("Devices", linux.devices.iter().flatten().map(device).collect());
}

fn tmpfs(mounts: Option<&[Tmpfs]>) -> Option<Value> {
    let mounts = mounts.filter(|mounts| !mounts.is_empty())?;
    let pair = |mount: &Tmpfs| {
        let mut options = mount.mount_options.clone().unwrap_or_default();
        options.push(format!("size={}m", mount.size.unwrap_or_default()));
        Some((mount.container_path.clone()?, Value::String(options.join(","))))
    };
    Some(Value::Object(mounts.iter().filter_map(pair).collect()))
}

fn device(device: &Device) -> Value {
    let letter = |permission: &String| match permission.as_str() {
        "read" => "r",
        "write" => "w",
        "mknod" => "m",
        _ => "",
    };
    let granted = device.permissions.as_ref().filter(|list| !list.is_empty());
    let permissions =
        granted.map_or_else(|| "rwm".to_owned(), |list| list.iter().map(letter).collect());
    let inside = device.container_path.as_ref().or(device.host_path.as_ref());
    json!({
        "PathOnHost": device.host_path,
        "PathInContainer": inside,
        "CgroupPermissions": permissions,
    })
}
