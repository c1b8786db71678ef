//! From ACS's words to the engine's: the only place that knows both.
//!
//! What a payload asks for and we do not obey yet is named in a warning, member
//! by member, so that no wish is dropped in silence.

use super::bridge;
use super::docker::{DeviceMapping, Healthcheck, Overrides, docker, parse};
use crate::engine::{
    Condition, ContainerSpec, Dependency, Desired, Device, Eni, Failure, FailureKind, HealthCheck,
    Input, LogConfig, MountPoint, Network, RestartPolicy, Sharing, TaskArn, TaskSpec, VolumeSource,
    VolumesFrom, can_come_up,
};
use crate::runtime::PAUSE;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use wire::acs;

/// A subnet of a dual-stack VPC is always this long.
const IPV6_PREFIX: u8 = 64;

/// What the engine is to hear of a task in a payload. Nothing, if it has no name.
pub fn task(task: &acs::Task, cluster: &str) -> Option<Input> {
    let arn = TaskArn::new(task.arn.as_deref().filter(|arn| !arn.is_empty())?);
    let desired = match task.desired_status.as_deref() {
        Some("STOPPED") => Desired::Stopped,
        _ => Desired::Running,
    };
    let mut spec = Box::new(TaskSpec {
        arn,
        cluster: task.task_cluster_arn.clone().unwrap_or_else(|| cluster.to_owned()),
        family: task.family.clone().unwrap_or_default(),
        version: task.version.clone().unwrap_or_default(),
        service: task.service_name.clone().filter(|name| !name.is_empty()),
        network: Network::Isolated,
        cpu: task.cpu,
        memory_mib: task.memory.and_then(|mib| u64::try_from(mib).ok()),
        volumes: BTreeMap::new(),
        pids: sharing(task.pid_mode.as_deref()),
        ipc: sharing(task.ipc_mode.as_deref()),
        containers: Vec::new(),
        credentials_id: task.role_credentials.as_ref().and_then(|it| it.credentials_id.clone()),
    });
    let containers = task.containers.as_deref().unwrap_or_default();
    // To stop something, one need not understand it.
    if desired == Desired::Stopped {
        spec.containers = containers
            .iter()
            .map(|c| ContainerSpec {
                name: c.name.clone().unwrap_or_default(),
                ..ContainerSpec::default()
            })
            .collect();
        return Some(Input::Want { spec, desired });
    }
    let shares = [spec.pids, spec.ipc].contains(&Sharing::Task);
    let understood = network(task).and_then(|network| {
        no_gpus(task)?;
        let mut containers = containers.iter().map(container).collect::<Result<Vec<_>, _>>()?;
        spec.volumes = volumes(task)?;
        if shares && !containers.is_empty() {
            let holder = holder(&mut containers);
            containers.insert(0, holder);
        }
        Ok((network, containers))
    });
    match understood {
        // The official agent's words.
        Ok((_, containers)) if !can_come_up(&containers) => {
            let reason = format!("Task dependencies cannot be resolved, taskArn: {}", spec.arn);
            Some(Input::Refuse { spec, reason })
        }
        Ok((network, containers)) if !containers.is_empty() => {
            warn(&spec.arn, "", &unheeded_of_task(task));
            for given in task.containers.iter().flatten() {
                let name = given.name.as_deref().unwrap_or_default();
                warn(&spec.arn, name, &unheeded_of_container(given));
            }
            spec.network = network;
            spec.containers = containers;
            Some(Input::Want { spec, desired })
        }
        other => {
            let problem = other.err().unwrap_or_else(|| "it has no containers".to_owned());
            let text = format!("Error loading task - {problem}");
            let reason = Failure::new(FailureKind::Unsupported, text).to_string();
            Some(Input::Refuse { spec, reason })
        }
    }
}

/// A container that runs without the GPUs it was promised would be worse than none.
fn no_gpus(task: &acs::Task) -> Result<(), String> {
    let gpu = Some(acs::association_type::GPU);
    match task.associations.iter().flatten().find(|one| one.r#type.as_deref() == gpu) {
        Some(_) => Err("this agent gives no GPUs".to_owned()),
        None => Ok(()),
    }
}

fn warn(task: &TaskArn, container: &str, members: &[&str]) {
    if !members.is_empty() {
        let members = members.join(", ");
        tracing::warn!(%task, container, members, "the payload asks for more than we do yet");
    }
}

fn sharing(mode: Option<&str>) -> Sharing {
    match mode {
        Some("host") => Sharing::Host,
        Some("task") => Sharing::Task,
        Some("none") => Sharing::Nothing,
        _ => Sharing::Own,
    }
}

/// The container that holds what the others share; it comes up before them.
fn holder(others: &mut [ContainerSpec]) -> ContainerSpec {
    // The official agent's name for its own.
    let name = "~internal~ecs~pause";
    for other in others {
        let (on, condition) = (name.to_owned(), Condition::Start);
        other.depends_on.push(Dependency { on, condition });
    }
    ContainerSpec {
        name: name.to_owned(),
        image: PAUSE.to_owned(),
        essential: true,
        internal: true,
        readonly_rootfs: true,
        ..ContainerSpec::default()
    }
}

fn volumes(task: &acs::Task) -> Result<BTreeMap<String, VolumeSource>, String> {
    let volumes = task.volumes.iter().flatten().map(|given| {
        let name = given.name.clone().unwrap_or_default();
        let source = match given.r#type.as_deref() {
            Some("docker") => {
                let docker = given.docker_volume_configuration.as_ref();
                let driver = docker.and_then(|docker| docker.driver.as_deref());
                if !matches!(driver, None | Some("" | "local")) {
                    return Err(format!("the driver of volume {name:?} is not supported"));
                }
                match docker.and_then(|docker| docker.scope.as_deref()) {
                    Some("shared") => VolumeSource::Shared,
                    _ => VolumeSource::Task,
                }
            }
            None | Some("" | "host") => {
                let host = given.host.as_ref().and_then(|host| host.source_path.clone());
                match host.filter(|path| !path.is_empty()) {
                    Some(path) if !path.starts_with('/') => {
                        return Err(format!("the path {path:?} of volume {name:?} is relative"));
                    }
                    Some(path) => VolumeSource::Host(path),
                    None => VolumeSource::Task,
                }
            }
            Some(other) => {
                return Err(format!(
                    "volume {name:?} is of the kind {other}, which is not supported"
                ));
            }
        };
        Ok((name, source))
    });
    volumes.collect()
}

fn network(task: &acs::Task) -> Result<Network, String> {
    match task.network_mode.as_deref() {
        Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::Isolated),
        Some("awsvpc") => {
            let mut enis = task.elastic_network_interfaces.iter().flatten();
            let eni = enis.next().ok_or("awsvpc without a network interface")?;
            if enis.next().is_some() {
                return Err("more than one network interface".to_owned());
            }
            self::eni(eni).map(Network::Awsvpc)
        }
        None | Some("" | "bridge") => Ok(Network::Bridge),
        Some(other) => Err(format!("network mode {other} is not supported by this agent")),
    }
}

fn eni(eni: &acs::ElasticNetworkInterface) -> Result<Eni, String> {
    let protocol = eni.interface_association_protocol.as_deref().unwrap_or("default");
    if protocol != "default" {
        return Err(format!("network interface association {protocol} is not supported"));
    }
    let bad = |what: &str, text: &str| format!("{what} {text:?} of the network interface");
    let gateway = |text: &Option<String>| -> Result<Option<(IpAddr, u8)>, String> {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = text
            .split_once('/')
            .and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)));
        parsed.map(Some).ok_or_else(|| bad("gateway", text))
    };
    let gateway_v4 = gateway(&eni.subnet_gateway_ipv4_address)?;
    let gateway_v6 = gateway(&eni.subnet_gateway_ipv6_address)?;
    let mut ipv4 = Vec::new();
    for given in eni.ipv4_addresses.iter().flatten() {
        let text = given.private_address.as_deref().unwrap_or_default();
        let address: Ipv4Addr = text.parse().map_err(|_| bad("address", text))?;
        let prefix = gateway_v4.map_or(32, |(_, prefix)| prefix);
        let primary = given.primary == Some(true);
        // The first address is the one that connections come from.
        ipv4.insert(if primary { 0 } else { ipv4.len() }, (address, prefix));
    }
    let mut ipv6 = Vec::new();
    for given in eni.ipv6_addresses.iter().flatten() {
        let text = given.address.as_deref().unwrap_or_default();
        let address: Ipv6Addr = text.parse().map_err(|_| bad("address", text))?;
        ipv6.push((address, gateway_v6.map_or(IPV6_PREFIX, |(_, prefix)| prefix)));
    }
    if ipv4.is_empty() && ipv6.is_empty() {
        return Err("the network interface has no address".to_owned());
    }
    let mac = eni.mac_address.as_deref().unwrap_or_default().to_ascii_lowercase();
    if mac.split(':').filter(|part| u8::from_str_radix(part, 16).is_ok()).count() != 6 {
        return Err(bad("MAC address", &mac));
    }
    let servers = eni.domain_name_servers.iter().flatten();
    Ok(Eni {
        id: eni.ec2_id.clone().unwrap_or_default(),
        mac,
        ipv4,
        ipv6,
        gateway_v4: match gateway_v4 {
            Some((IpAddr::V4(address), _)) => Some(address),
            Some((IpAddr::V6(_), _)) | None => None,
        },
        gateway_v6: match gateway_v6 {
            Some((IpAddr::V6(address), _)) => Some(address),
            Some((IpAddr::V4(_), _)) | None => None,
        },
        name_servers: servers.filter_map(|server| server.parse().ok()).collect(),
        search: eni.domain_name.clone().unwrap_or_default(),
        hostname: eni.private_dns_name.clone().filter(|name| !name.is_empty()),
    })
}

fn container(given: &acs::Container) -> Result<ContainerSpec, String> {
    let (config, host) = docker(given)?;
    let overrides: Overrides = parse(given.overrides.as_ref(), "overrides")?;
    let name =
        given.name.clone().filter(|name| !name.is_empty()).ok_or("a container has no name")?;
    let mut environment = given.environment.clone().unwrap_or_default();
    for entry in config.env.iter().flatten() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        environment.insert(name.to_owned(), value.to_owned());
    }
    let positive =
        |number: Option<i32>| number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    // Docker means "no limit" by -1.
    let limit = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    let extra_hosts = host.extra_hosts.into_iter().flatten();
    Ok(ContainerSpec {
        name,
        image: config.image.or_else(|| given.image.clone()).unwrap_or_default(),
        command: overrides.command.or(config.cmd).or_else(|| given.command.clone()),
        entry_point: config.entrypoint.or_else(|| given.entry_point.clone()),
        environment,
        cpu: positive(given.cpu).unwrap_or(0),
        memory_mib: positive(given.memory),
        memory_reservation_mib: Some(host.memory_reservation >> 20).filter(|mib| *mib > 0),
        essential: given.essential.unwrap_or(true),
        internal: false,
        depends_on: depends_on(given)?,
        dns: host.dns.unwrap_or_default(),
        dns_search: host.dns_search.unwrap_or_default(),
        environment_files: environment_files(given),
        mount_points: mount_points(given),
        volumes_from: volumes_from(given),
        devices: devices(host.devices),
        init: host.init == Some(true),
        memory_swap: Some(host.memory_swap).filter(|swap| *swap != 0),
        swappiness: host.memory_swappiness.and_then(|it| u64::try_from(it).ok()),
        terminal: config.tty,
        interactive: config.open_stdin,
        security_options: host.security_opt.unwrap_or_default(),
        start_timeout: positive(given.start_timeout).map(Duration::from_secs),
        health_check: health_check(given, config.healthcheck.as_ref())?,
        restart_policy: restart_policy(given),
        stop_timeout: positive(given.stop_timeout).map(Duration::from_secs),
        stop_signal: config.stop_signal,
        user: config.user,
        working_dir: config.working_dir,
        hostname: config.hostname,
        ports: bridge::ports(given)?,
        links: bridge::links(given),
        offline: config.network_disabled,
        privileged: host.privileged || given.privileged == Some(true),
        readonly_rootfs: host.readonly_rootfs,
        cap_add: host.cap_add.unwrap_or_default(),
        cap_drop: host.cap_drop.unwrap_or_default(),
        ulimits: host
            .ulimits
            .into_iter()
            .flatten()
            .map(|ulimit| (ulimit.name, (limit(ulimit.soft), limit(ulimit.hard))))
            .collect(),
        sysctls: host.sysctls.unwrap_or_default(),
        shm_size: Some(host.shm_size).filter(|size| *size > 0),
        tmpfs: host.tmpfs.unwrap_or_default(),
        extra_hosts: extra_hosts
            .filter_map(|entry| {
                let (name, address) = entry.split_once(':')?;
                Some((name.to_owned(), address.to_owned()))
            })
            .collect(),
        registry: crate::engine::RegistryLogin::Anonymous,
        arn: given.container_arn.clone(),
        labels: config.labels.unwrap_or_default(),
        log: LogConfig {
            driver: host.log_config.kind,
            options: host.log_config.config.unwrap_or_default(),
        },
    })
}

fn depends_on(given: &acs::Container) -> Result<Vec<Dependency>, String> {
    let ordered = given.depends_on.iter().flatten().map(|wanted| {
        let condition = match wanted.condition.as_deref().unwrap_or_default() {
            "START" => Condition::Start,
            "COMPLETE" => Condition::Complete,
            "SUCCESS" => Condition::Success,
            "HEALTHY" => Condition::Healthy,
            other => return Err(format!("unknown condition {other:?} of a dependency")),
        };
        Ok(Dependency { on: wanted.container_name.clone().unwrap_or_default(), condition })
    });
    // Who has another's volumes comes after it.
    let from = given.volumes_from.iter().flatten().map(|other| {
        let on = other.source_container.clone().unwrap_or_default();
        Ok(Dependency { on, condition: Condition::Create })
    });
    ordered.chain(from).chain(bridge::linked(given).map(Ok)).collect()
}

fn mount_points(given: &acs::Container) -> Vec<MountPoint> {
    let points = given.mount_points.iter().flatten().map(|point| MountPoint {
        volume: point.source_volume.clone().unwrap_or_default(),
        path: point.container_path.clone().unwrap_or_default(),
        read_only: point.read_only == Some(true),
    });
    points.collect()
}

fn volumes_from(given: &acs::Container) -> Vec<VolumesFrom> {
    let others = given.volumes_from.iter().flatten().map(|other| VolumesFrom {
        container: other.source_container.clone().unwrap_or_default(),
        read_only: other.read_only == Some(true),
    });
    others.collect()
}

fn environment_files(given: &acs::Container) -> Vec<String> {
    given.environment_files.iter().flatten().filter_map(|file| file.value.clone()).collect()
}

fn devices(given: Option<Vec<DeviceMapping>>) -> Vec<Device> {
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let devices = given.into_iter().flatten().map(|device| Device {
        path: or(device.path_in_container, &device.path_on_host),
        access: or(device.cgroup_permissions, "rwm"),
        host: device.path_on_host,
    });
    devices.collect()
}

/// Only what the definition says counts, not what an image brings.
fn health_check(
    given: &acs::Container,
    check: Option<&Healthcheck>,
) -> Result<Option<HealthCheck>, String> {
    match (given.health_check_type.as_deref(), check) {
        (None, _) => Ok(None),
        (Some(kind), Some(check)) if kind.eq_ignore_ascii_case("docker") => check.wish(),
        (Some(_), _) => Err("docker health check is nil while container health check type is \
                             DOCKER"
            .to_owned()),
    }
}

fn restart_policy(given: &acs::Container) -> Option<RestartPolicy> {
    let policy = given.restart_policy.as_ref().filter(|policy| policy.enabled == Some(true))?;
    let period = policy.restart_attempt_period.and_then(|seconds| u64::try_from(seconds).ok());
    Some(RestartPolicy {
        ignored_exit_codes: policy.ignored_exit_codes.clone().unwrap_or_default(),
        attempt_period: Duration::from_secs(period.unwrap_or(300)),
    })
}

fn present<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// The members of a task that ask for something and are not obeyed.
fn unheeded_of_task(task: &acs::Task) -> Vec<&'static str> {
    let checks = [
        ("attachments", present(task.attachments.as_ref())),
        ("associations", present(task.associations.as_ref())),
        ("proxyConfiguration", task.proxy_configuration.is_some()),
        ("enableFaultInjection", task.enable_fault_injection == Some(true)),
        ("trustedExecutionConfiguration", task.trusted_execution_configuration.is_some()),
    ];
    checks.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect()
}

/// The members of a container that ask for something and are not obeyed.
fn unheeded_of_container(given: &acs::Container) -> Vec<&'static str> {
    let (config, host) = docker(given).unwrap_or_default();
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    };
    let rest = |rest: &BTreeMap<String, Value>| rest.values().any(|value| !empty(value));
    let log = host.log_config.kind.as_str();
    let checks = [
        ("secrets", present(given.secrets.as_ref())),
        ("registryAuthentication", given.registry_authentication.is_some()),
        ("firelensConfiguration", given.firelens_configuration.is_some()),
        ("managedAgents", present(given.managed_agents.as_ref())),
        ("credentialSpecs", present(given.credential_specs.as_ref())),
        ("dockerConfig.hostConfig.LogConfig", !matches!(log, "" | "json-file" | "none")),
        ("dockerConfig.config, other members", rest(&config.rest)),
        ("dockerConfig.hostConfig, other members", rest(&host.rest)),
        (
            "dockerConfig.hostConfig.NetworkMode",
            !matches!(
                host.network_mode.as_deref(),
                None | Some("" | "default" | "awsvpc" | "host" | "none" | "bridge")
            ),
        ),
    ];
    checks.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> acs::Task {
        let json = serde_json::json!({ "type": "PayloadMessage", "message": { "tasks": [{
            "arn": "arn:aws:ecs:us-east-1:1:task/c/aaaa", "desiredStatus": "RUNNING",
            "family": "web", "version": "3", "networkMode": "awsvpc", "cpu": 0.25, "memory": 512,
            "elasticNetworkInterfaces": [{
                "ec2Id": "eni-1", "macAddress": "0E:00:00:00:00:07",
                "ipv4Addresses": [
                    { "privateAddress": "172.31.0.9", "primary": false },
                    { "privateAddress": "172.31.0.8", "primary": true },
                ],
                "subnetGatewayIpv4Address": "172.31.0.1/20",
            }],
            "containers": [{
                "name": "app", "image": "busybox", "command": ["a"], "cpu": 10, "memory": 64,
                "essential": true, "stopTimeout": 5, "secrets": [{ "name": "X" }],
                "overrides": "{\"command\":[\"b\"]}",
                "dockerConfig": {
                    "config": "{\"User\":\"web\",\"Domainname\":\"x\"}",
                    "hostConfig": "{\"CapAdd\":[\"NET_ADMIN\"],\"Privileged\":false,\
                        \"MemoryReservation\":33554432,\
                        \"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":-1}]}",
                },
            }],
        }] } });
        let message = acs::Message::decode(&json.to_string()).expect("decodes");
        let acs::Message::PayloadMessage(payload) = message else { panic!("a payload") };
        payload.tasks.expect("tasks").remove(0)
    }

    #[test]
    fn a_payload_becomes_a_task() {
        let Some(Input::Want { spec, desired }) = task(&payload(), "c") else { panic!("wanted") };
        assert_eq!(desired, Desired::Running);
        let Network::Awsvpc(eni) = &spec.network else { panic!("awsvpc") };
        assert_eq!(eni.mac, "0e:00:00:00:00:07");
        let address = |text: &str| text.parse::<Ipv4Addr>().expect("address");
        assert_eq!(eni.ipv4, [(address("172.31.0.8"), 20), (address("172.31.0.9"), 20)]);
        assert_eq!(eni.gateway_v4, Some(address("172.31.0.1")));
        let app = &spec.containers[0];
        assert_eq!(app.command.as_deref(), Some(["b".to_owned()].as_slice()));
        assert_eq!(app.user.as_deref(), Some("web"));
        assert_eq!(app.cap_add, ["NET_ADMIN"]);
        assert_eq!(app.memory_reservation_mib, Some(32));
        assert_eq!(app.ulimits["nofile"], (1, u64::MAX));
        assert_eq!(app.stop_timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_not_obeyed_is_named() {
        let container = &payload().containers.expect("containers")[0];
        assert_eq!(
            unheeded_of_container(container),
            ["secrets", "dockerConfig.config, other members"]
        );
    }

    #[test]
    fn what_cannot_run_is_refused_and_what_is_to_stop_is_not() {
        let mut given = payload();
        given.network_mode = Some("nat".to_owned());
        let Some(Input::Refuse { reason, .. }) = task(&given, "c") else { panic!("refused") };
        assert_eq!(
            reason,
            "UnrecogniedTaskError: Error loading task - network mode nat is not supported by \
             this agent"
        );
        let gpu = acs::Association { r#type: Some("gpu".to_owned()), ..Default::default() };
        let promised = acs::Task { associations: Some(vec![gpu]), ..payload() };
        let Some(Input::Refuse { reason, .. }) = task(&promised, "c") else { panic!("refused") };
        assert!(reason.ends_with("this agent gives no GPUs"), "{reason}");
        given.desired_status = Some("STOPPED".to_owned());
        assert!(matches!(task(&given, "c"), Some(Input::Want { desired: Desired::Stopped, .. })));
    }

    #[test]
    fn what_a_container_waits_for_and_mounts_arrives() {
        let mut given = payload();
        let json = serde_json::json!([
            { "name": "db", "image": "i", "healthCheckType": "docker", "startTimeout": 9,
              "restartPolicy": { "enabled": true, "ignoredExitCodes": [3] },
              "dockerConfig": { "config": "{\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"up\"],\
                  \"Interval\":5000000000,\"Retries\":2}}" } },
            { "name": "app", "image": "i",
              "dependsOn": [{ "containerName": "db", "condition": "HEALTHY" }],
              "volumesFrom": [{ "sourceContainer": "db", "readOnly": true }],
              "mountPoints": [{ "sourceVolume": "v", "containerPath": "/v" }],
              "dockerConfig": { "hostConfig": "{\"Devices\":[{\"PathOnHost\":\"/dev/null\"}],\
                  \"MemorySwap\":-1,\"Init\":true,\"Dns\":[\"1.1.1.1\"]}" } },
        ]);
        given.containers = serde_json::from_value(json).expect("containers");
        let json = serde_json::json!([
            { "name": "v", "type": "docker",
              "dockerVolumeConfiguration": { "scope": "shared", "driver": "local" } },
            { "name": "w", "type": "host", "host": { "sourcePath": "" } },
            { "name": "x", "type": "host", "host": { "sourcePath": "/srv" } },
        ]);
        given.volumes = serde_json::from_value(json).expect("volumes");
        let Some(Input::Want { spec, .. }) = task(&given, "c") else { panic!("wanted") };
        let volumes: Vec<_> = spec.volumes.values().cloned().collect();
        let host = VolumeSource::Host("/srv".to_owned());
        assert_eq!(volumes, [VolumeSource::Shared, VolumeSource::Task, host]);
        let [db, app] = &spec.containers[..] else { panic!("two, and none of ours") };
        let check = db.health_check.as_ref().expect("a check");
        assert_eq!(check.command, ["/bin/sh", "-c", "up"]);
        assert_eq!((check.interval, check.retries), (Duration::from_secs(5), 2));
        let policy = db.restart_policy.as_ref().expect("a policy");
        assert_eq!(
            (policy.attempt_period, &policy.ignored_exit_codes[..]),
            (Duration::from_mins(5), &[3][..])
        );
        let waits: Vec<_> = app.depends_on.iter().map(|it| (&*it.on, it.condition)).collect();
        assert_eq!(waits, [("db", Condition::Healthy), ("db", Condition::Create)]);
        assert_eq!(
            (app.devices[0].path.as_str(), app.devices[0].access.as_str()),
            ("/dev/null", "rwm")
        );
        assert_eq!((app.memory_swap, app.init, &*app.dns[0]), (Some(-1), true, "1.1.1.1"));

        // What is shared is held by a container of ours, which comes up first.
        given.pid_mode = Some("task".to_owned());
        let Some(Input::Want { spec, .. }) = task(&given, "c") else { panic!("wanted") };
        assert!(spec.containers[0].internal && spec.containers[0].essential);
        let all = &spec.containers[1..];
        let waits =
            |it: &ContainerSpec| it.depends_on.iter().any(|d| d.on == spec.containers[0].name);
        assert!(all.len() == 2 && all.iter().all(waits));
    }

    #[test]
    fn what_can_never_come_up_is_refused_in_the_official_words() {
        let mut given = payload();
        let json = serde_json::json!([
            { "name": "a", "image": "i", "volumesFrom": [{ "sourceContainer": "b" }] },
            { "name": "b", "image": "i", "dependsOn": [{ "containerName": "a", "condition": "START" }] },
        ]);
        given.containers = serde_json::from_value(json).expect("containers");
        let Some(Input::Refuse { reason, .. }) = task(&given, "c") else { panic!("refused") };
        assert_eq!(
            reason,
            "Task dependencies cannot be resolved, taskArn: arn:aws:ecs:us-east-1:1:task/c/aaaa"
        );
        let json = serde_json::json!([{ "name": "a", "image": "i", "healthCheckType": "docker" }]);
        given.containers = serde_json::from_value(json).expect("containers");
        let Some(Input::Refuse { reason, .. }) = task(&given, "c") else { panic!("refused") };
        assert!(reason.contains("docker health check is nil"), "{reason}");
    }
}
