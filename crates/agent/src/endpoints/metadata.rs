//! The documents about a task and its containers, in the forms of the official
//! agent: field names, formats and what is left out when it is not known.

use crate::api::Identity;
use crate::engine::{Container, ContainerSpec, Desired, Eni, Known, Network, Task};
use crate::runtime::{Declared, Directories, Mounted, mounted};
use ident::Timestamp;
use serde_json::{Map, Value, json};

/// In which version's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V3,
    V4,
}

/// What there is to know about a task beside what the engine does.
pub(super) struct Around<'a> {
    /// How many bytes it has written to disk.
    pub(super) written: Option<u64>,
    /// Who this machine is, if it is registered.
    pub(super) identity: Option<&'a Identity>,
    /// The id of its availability zone, which is the same in all accounts.
    pub(super) zone_id: Option<&'a str>,
    /// Where its volumes are.
    pub(super) directories: &'a Directories,
}

/// The document about a task.
pub(super) fn task(task: &Task, around: &Around<'_>, form: Form) -> Value {
    let spec = &task.spec;
    let known =
        (0..task.containers.len()).map(|index| container(task, index, around.directories, form));
    let mut document = json!({
        "Cluster": spec.cluster,
        "TaskARN": spec.arn,
        "Family": spec.family,
        "Revision": spec.version,
        "DesiredStatus": desired(task.desired),
        "KnownStatus": status(task.known()),
        "Containers": known.collect::<Vec<_>>(),
    });
    let limits = [("CPU", spec.cpu.map(Value::from)), ("Memory", spec.memory_mib.map(Value::from))];
    let limits = present(limits);
    let mut more = vec![
        ("Limits", (!limits.is_empty()).then_some(Value::Object(limits))),
        ("PullStartedAt", moment(task.pull_started_at)),
        ("PullStoppedAt", moment(task.pull_stopped_at)),
        ("ExecutionStoppedAt", moment(task.execution_stopped_at)),
        ("AvailabilityZone", around.identity.and_then(|it| it.zone.clone()).map(Value::from)),
    ];
    if form == Form::V4 {
        more.push(("LaunchType", Some(json!("EC2"))));
        more.push(("FaultInjectionEnabled", Some(json!(false))));
        more.push(("AvailabilityZoneID", around.zone_id.map(Value::from)));
        more.push(("VPCID", around.identity.and_then(|it| it.vpc.clone()).map(Value::from)));
        more.push(("ServiceName", spec.service.clone().map(Value::from)));
        // In MiB. `Reserved` is of tasks to which a size is promised, which none is here.
        let utilized = around.written.map(|bytes| json!({ "Utilized": bytes >> 20 }));
        more.push(("EphemeralStorageMetrics", utilized));
    }
    add(&mut document, present(more));
    document
}

/// The document about a container of a task, whose volumes are in these directories.
pub(super) fn container(task: &Task, index: usize, directories: &Directories, form: Form) -> Value {
    let (Some(container), Some(spec)) =
        (task.containers.get(index), task.spec.containers.get(index))
    else {
        return Value::Null;
    };
    let mut document = json!({
        "DockerId": container.runtime_id,
        "Name": container.name,
        "DockerName": container.runtime_id,
        "Image": spec.image,
        "ImageID": container.image_digest.as_deref().unwrap_or_default(),
        "Labels": task.spec.labels(spec),
        "DesiredStatus": desired(task.desired),
        "KnownStatus": status(container.known),
        "Limits": { "CPU": spec.cpu, "Memory": spec.memory_mib.unwrap_or(0) },
        "Type": if spec.internal { "NAMESPACE_PAUSE" } else { "NORMAL" },
    });
    let mut more = vec![
        ("ExitCode", container.exit_code.map(Value::from)),
        ("CreatedAt", moment(container.created_at)),
        ("StartedAt", moment(container.started_at)),
        ("FinishedAt", moment(container.finished_at)),
        ("Health", spec.health_check.as_ref().map(|_| health(container))),
        ("Networks", networks(task, container, form)),
        ("Ports", ports(container)),
        ("Volumes", volumes(task, index, directories)),
    ];
    if form == Form::V4 {
        more.extend(log(spec));
        more.push(("ContainerARN", spec.arn.as_deref().map(Value::from)));
        more.push(("Snapshotter", Some(json!("overlayfs"))));
        let restarts = spec.restart_policy.as_ref().map(|_| json!(container.restarts));
        more.push(("RestartCount", restarts));
    }
    add(&mut document, present(more));
    document
}

/// Where the definition would have the output of a container go.
fn log(spec: &ContainerSpec) -> [(&'static str, Option<Value>); 2] {
    let log = &spec.log;
    [
        ("LogDriver", (!log.driver.is_empty()).then(|| json!(log.driver))),
        ("LogOptions", (!log.options.is_empty()).then(|| json!(log.options))),
    ]
}

/// What a container mounts that its definition names.
fn volumes(task: &Task, index: usize, directories: &Directories) -> Option<Value> {
    // One that names what there is not was never made, and mounts nothing.
    let all = mounted(&task.spec, index, directories, &Declared::new()).ok()?;
    let shown = |Mounted { name, bind, .. }: Mounted| {
        let mut shown = json!({ "Source": bind.source, "Destination": bind.destination });
        add(&mut shown, present([("DockerName", name.map(Value::from))]));
        shown
    };
    (!all.is_empty()).then(|| all.into_iter().map(shown).collect())
}

/// How a container that is checked fares.
fn health(container: &Container) -> Value {
    let mut shown = json!({ "status": container.health.as_str() });
    let latest = container.checks.latest.as_ref();
    let more = [
        ("statusSince", moment(container.health_since)),
        // The official agent leaves out what says nothing.
        ("exitCode", latest.map(|it| it.exit_code).filter(|code| *code != 0).map(Value::from)),
        (
            "output",
            latest.map(|it| it.output.as_str()).filter(|it| !it.is_empty()).map(Value::from),
        ),
    ];
    add(&mut shown, present(more));
    shown
}

/// What a container sees of the network, once it is there.
fn networks(task: &Task, container: &Container, form: Form) -> Option<Value> {
    if container.known < Known::Created {
        return None;
    }
    match &task.spec.network {
        Network::Awsvpc(eni) => {
            let mut network = json!({
                "NetworkMode": "awsvpc",
                "IPv4Addresses": eni.ipv4.iter().map(|(address, _)| address).collect::<Vec<_>>(),
            });
            if !eni.ipv6.is_empty() {
                let addresses: Vec<_> = eni.ipv6.iter().map(|(address, _)| address).collect();
                network["IPv6Addresses"] = json!(addresses);
            }
            if form == Form::V4 {
                add(&mut network, interface(eni));
            }
            Some(json!([network]))
        }
        Network::Bridge => Some(json!([{
            "NetworkMode": "bridge",
            "IPv4Addresses": container.attachment.iter().map(|at| at.ipv4).collect::<Vec<_>>(),
        }])),
        Network::Isolated => Some(json!([{ "NetworkMode": "none" }])),
        Network::Host => Some(json!([{ "NetworkMode": "host" }])),
    }
}

/// By which ports of the machine a container is reached.
fn ports(container: &Container) -> Option<Value> {
    let at = container.attachment.as_ref().filter(|at| !at.bindings.is_empty())?;
    let all = at.bindings.iter().flat_map(|binding| {
        binding.pairs().flat_map(move |(outside, inside)| {
            binding.addresses().map(move |address| {
                json!({
                    "ContainerPort": inside,
                    "Protocol": binding.protocol.as_str(),
                    "HostPort": outside,
                    "HostIp": address,
                })
            })
        })
    });
    Some(all.collect())
}

/// What only the fourth version tells of an interface.
fn interface(eni: &Eni) -> Map<String, Value> {
    let subnet_v4 = eni.ipv4.first().map(|(address, length)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(*length).min(32)).unwrap_or(0);
        let network = std::net::Ipv4Addr::from(u32::from(*address) & mask);
        json!(format!("{network}/{length}"))
    });
    let subnet_v6 = eni.ipv6.first().map(|(address, length)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(*length).min(128)).unwrap_or(0);
        let network = std::net::Ipv6Addr::from(u128::from(*address) & mask);
        json!(format!("{network}/{length}"))
    });
    let gateway = eni.gateway_v4.zip(eni.ipv4.first());
    let gateway = gateway.map(|(gateway, (_, length))| json!(format!("{gateway}/{length}")));
    present([
        ("AttachmentIndex", Some(json!(0))),
        ("MACAddress", Some(json!(eni.mac))),
        ("IPv4SubnetCIDRBlock", subnet_v4),
        ("IPv6SubnetCIDRBlock", subnet_v6),
        ("DomainNameServers", (!eni.name_servers.is_empty()).then(|| json!(eni.name_servers))),
        ("DomainNameSearchList", (!eni.search.is_empty()).then(|| json!(eni.search))),
        ("PrivateDNSName", eni.hostname.as_deref().map(Value::from)),
        ("SubnetGatewayIpv4Address", gateway),
    ])
}

pub(super) fn desired(desired: Desired) -> &'static str {
    match desired {
        Desired::Running => "RUNNING",
        Desired::Stopped => "STOPPED",
    }
}

pub(super) fn status(known: Known) -> &'static str {
    match known {
        Known::None => "NONE",
        Known::Pulled => "PULLED",
        Known::Created => "CREATED",
        Known::Running => "RUNNING",
        Known::Stopped => "STOPPED",
    }
}

fn moment(at: Option<Timestamp>) -> Option<Value> {
    wire::Timestamp::from(at?).iso8601().map(Value::from)
}

/// The members that have a value.
fn present<'a>(members: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn add(document: &mut Value, members: Map<String, Value>) {
    if let Some(object) = document.as_object_mut() {
        object.extend(members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{LogConfig, MountPoint, TaskArn, TaskSpec, VolumeSource};

    fn running() -> Task {
        let eni = Eni {
            id: "eni-1".to_owned(),
            mac: "0a:00:00:00:00:01".to_owned(),
            ipv4: vec![("172.31.5.9".parse().expect("an address"), 20)],
            ipv6: vec![],
            gateway_v4: Some("172.31.0.1".parse().expect("an address")),
            gateway_v6: None,
            name_servers: vec!["172.31.0.2".parse().expect("an address")],
            search: vec!["ec2.internal".to_owned()],
            hostname: Some("ip-172-31-5-9.ec2.internal".to_owned()),
        };
        let web = ContainerSpec {
            name: "web".to_owned(),
            image: "web:1".to_owned(),
            cpu: 64,
            memory_mib: Some(128),
            arn: Some("arn:aws:ecs:us-east-1:000000000001:container/c/t/1".to_owned()),
            labels: [("mine".to_owned(), "yes".to_owned())].into(),
            mount_points: [("kept", "/data"), ("host", "/host")]
                .map(|(volume, path)| MountPoint {
                    volume: volume.to_owned(),
                    path: path.to_owned(),
                    read_only: false,
                })
                .into(),
            log: LogConfig {
                driver: "awslogs".to_owned(),
                options: [("awslogs-group".to_owned(), "g".to_owned())].into(),
            },
            ..ContainerSpec::default()
        };
        let mut task = Task::new(
            TaskSpec {
                cluster: "c".to_owned(),
                family: "web".to_owned(),
                version: "3".to_owned(),
                service: Some("front".to_owned()),
                volumes: [
                    ("kept".to_owned(), VolumeSource::Shared),
                    ("host".to_owned(), VolumeSource::Host("/srv/x".to_owned())),
                ]
                .into(),
                network: Network::Awsvpc(eni),
                cpu: Some(0.25),
                memory_mib: Some(512),
                containers: vec![web],
                ..TaskSpec::new(TaskArn::new("arn:aws:ecs:us-east-1:000000000001:task/c/0123abcd"))
            },
            Desired::Running,
        );
        task.containers[0].known = Known::Running;
        task.containers[0].created_at = Some(Timestamp(1_699_999_999_000));
        task.containers[0].started_at = Some(Timestamp(1_700_000_000_123));
        task
    }

    fn directories() -> Directories {
        Directories { own: "/v".into(), shared: "/s".into() }
    }

    fn shown(written: Option<u64>, form: Form) -> Value {
        let identity = Identity {
            zone: Some("us-east-1a".to_owned()),
            vpc: Some("vpc-1".to_owned()),
            ..Identity::default()
        };
        let around = Around {
            written,
            identity: Some(&identity),
            zone_id: Some("use1-az1"),
            directories: &directories(),
        };
        task(&running(), &around, form)
    }

    #[test]
    fn the_fourth_version_tells_of_the_interface() {
        let shown = container(&running(), 0, &directories(), Form::V4);
        let expected = json!({
            "DockerId": "0123abcd-0",
            "Name": "web",
            "DockerName": "0123abcd-0",
            "Image": "web:1",
            "ImageID": "",
            "Labels": {
                "mine": "yes",
                "com.amazonaws.ecs.cluster": "c",
                "com.amazonaws.ecs.container-name": "web",
                "com.amazonaws.ecs.task-arn": "arn:aws:ecs:us-east-1:000000000001:task/c/0123abcd",
                "com.amazonaws.ecs.task-definition-family": "web",
                "com.amazonaws.ecs.task-definition-version": "3",
            },
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "Limits": { "CPU": 64, "Memory": 128 },
            "Type": "NORMAL",
            "CreatedAt": "2023-11-14T22:13:19.000Z",
            "StartedAt": "2023-11-14T22:13:20.123Z",
            "Volumes": [
                { "DockerName": "kept", "Source": "/s/kept", "Destination": "/data" },
                { "Source": "/srv/x", "Destination": "/host" },
            ],
            "LogDriver": "awslogs",
            "LogOptions": { "awslogs-group": "g" },
            "Networks": [{
                "NetworkMode": "awsvpc",
                "IPv4Addresses": ["172.31.5.9"],
                "AttachmentIndex": 0,
                "MACAddress": "0a:00:00:00:00:01",
                "IPv4SubnetCIDRBlock": "172.31.0.0/20",
                "DomainNameServers": ["172.31.0.2"],
                "DomainNameSearchList": ["ec2.internal"],
                "PrivateDNSName": "ip-172-31-5-9.ec2.internal",
                "SubnetGatewayIpv4Address": "172.31.0.1/20",
            }],
            "ContainerARN": "arn:aws:ecs:us-east-1:000000000001:container/c/t/1",
            "Snapshotter": "overlayfs",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn older_versions_know_less() {
        let older = container(&running(), 0, &directories(), Form::V3);
        assert_eq!(
            older["Networks"],
            json!([
                { "NetworkMode": "awsvpc", "IPv4Addresses": ["172.31.5.9"] }
            ])
        );
        assert_eq!((older.get("ContainerARN"), older.get("LogDriver")), (None, None));
        let older = shown(Some(9 << 20), Form::V2);
        for name in ["LaunchType", "EphemeralStorageMetrics", "VPCID", "ServiceName"] {
            assert_eq!(older.get(name), None, "{name}");
        }
        assert_eq!(older["AvailabilityZone"], "us-east-1a");
    }

    #[test]
    fn a_task_shows_its_containers_and_limits() {
        let told = shown(Some((9 << 20) - 1), Form::V4);
        assert_eq!(told["EphemeralStorageMetrics"], json!({ "Utilized": 8 }));
        assert_eq!(told["Limits"], json!({ "CPU": 0.25, "Memory": 512 }));
        assert_eq!((&told["KnownStatus"], &told["Revision"]), (&json!("RUNNING"), &json!("3")));
        assert_eq!(told["Containers"].as_array().map(Vec::len), Some(1));
        let places = ["AvailabilityZone", "AvailabilityZoneID", "VPCID", "ServiceName"];
        let expected = ["us-east-1a", "use1-az1", "vpc-1", "front"].map(Value::from);
        assert_eq!(places.map(|name| told[name].clone()), expected);
        assert_eq!(told.get("PullStartedAt"), None, "what is not known is left out");
        assert_eq!(shown(None, Form::V4).get("EphemeralStorageMetrics"), None);
    }
}
