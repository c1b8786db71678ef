//! What an agent is sent, compared with what the official agent was recorded to
//! understand.

use super::*;
use crate::testing::{World, scope};
use serde_json::{Value, json};
use wire::ecs::{
    ContainerOverride, HealthCheck, HostVolumeProperties, KernelCapabilities, KeyValuePair,
    LinuxParameters, LogConfiguration, MountPoint, TaskOverride, Ulimit,
};

/// A payload that the official agent took and ran, in awsvpc mode.
const RECORDED: &str = include_str!("../../tests/fixtures/payload.json");

fn compiled(
    world: &World,
    change: impl FnOnce(&mut ContainerDefinition),
    overrides: Option<TaskOverride>,
) -> Value {
    let instance = world.instance(1);
    world.define(|_| {});
    let run = world.run(|request| request.overrides = overrides).expect("accepted");
    let id = crate::testing::task_id(&run.tasks.expect("tasks")[0]);
    world.settle(&instance);
    // Of the revision that was not run: of what agents understand there is more
    // than RunTask takes yet.
    world.define(|request| {
        let containers = request.container_definitions.as_mut().expect("containers");
        change(&mut containers[0]);
        let host = HostVolumeProperties { source_path: Some("/srv".to_owned()) };
        request.volumes = Some(vec![
            Volume { name: Some("data".to_owned()), host: Some(host), ..Default::default() },
            Volume { name: Some("scratch".to_owned()), ..Default::default() },
        ]);
    });
    let task = Task { revision: 2, ..world.task(&id) };
    let payload = compile(&world.view(), &task, Desired::Running).expect("compiles");
    serde_json::to_value(payload).expect("serializes")
}

/// Whether everything in `shape` is in `value`, by name and type of value.
fn has_shape_of(value: &Value, shape: &Value, path: &str) {
    match (value, shape) {
        (Value::Object(value), Value::Object(shape)) => {
            for (name, inner) in shape {
                let path = format!("{path}/{name}");
                let there = value.get(name).unwrap_or_else(|| panic!("{path} is missing"));
                has_shape_of(there, inner, &path);
            }
        }
        (Value::Array(value), Value::Array(shape)) => {
            for (at, (there, inner)) in value.iter().zip(shape).enumerate() {
                has_shape_of(there, inner, &format!("{path}/{at}"));
            }
            assert_eq!(value.is_empty(), shape.is_empty(), "{path}");
        }
        (value, shape) => assert_eq!(
            std::mem::discriminant(value),
            std::mem::discriminant(shape),
            "{path}: {value} is not like {shape}"
        ),
    }
}

#[test]
fn it_has_the_shape_that_the_official_agent_takes() {
    let world = World::new();
    let payload =
        compiled(&world, |container| container.command = Some(vec!["serve".to_owned()]), None);
    let recorded: Value = serde_json::from_str(RECORDED).expect("a fixture");
    has_shape_of(&payload, &recorded, "");
}

#[test]
fn the_interface_is_described_for_whoever_has_to_find_it() {
    let world = World::new();
    let payload = compiled(&world, |_| {}, None);
    let eni = &payload["elasticNetworkInterfaces"][0];
    let task = world.view().list::<Task>(&scope()).next().expect("a task");
    let interface = task.interface.clone().expect("an interface");
    let name = interface.ipv4.to_string().replace('.', "-");
    assert_eq!(
        *eni,
        json!({
            "attachmentArn": crate::attachment_arn(&scope(), &interface.attachment).to_string(),
            "ec2Id": interface.eni.to_string(),
            "index": 0,
            "interfaceAssociationProtocol": "default",
            "macAddress": interface.mac.to_string(),
            "ipv4Addresses": [{ "primary": true, "privateAddress": interface.ipv4.to_string() }],
            "subnetGatewayIpv4Address": "172.31.0.1/20",
            "domainNameServers": ["172.31.0.2"],
            "domainName": ["ec2.internal"],
            "privateDnsName": format!("ip-{name}.ec2.internal"),
        })
    );
    assert_eq!(payload["networkMode"], "awsvpc");
    assert_eq!(payload["containers"][0]["portMappings"], json!([]), "there is nothing to map");
}

#[test]
fn overrides_are_merged_before_the_agent_sees_them() {
    let world = World::new();
    let pair = |name: &str, value: &str| KeyValuePair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let over = ContainerOverride {
        name: Some("web".to_owned()),
        command: Some(vec!["other".to_owned()]),
        environment: Some(vec![pair("B", "c"), pair("D", "d")]),
        memory: Some(32),
        ..Default::default()
    };
    let overrides = TaskOverride {
        container_overrides: Some(vec![over]),
        cpu: Some("512".to_owned()),
        memory: Some("1024".to_owned()),
        ..Default::default()
    };
    let payload = compiled(
        &world,
        |container| {
            container.command = Some(vec!["one".to_owned()]);
            container.environment = Some(vec![pair("A", "a"), pair("B", "b")]);
        },
        Some(overrides),
    );
    let container = &payload["containers"][0];
    assert_eq!(container["environment"], json!({ "A": "a", "B": "c", "D": "d" }));
    assert_eq!(container["command"], json!(["other"]));
    assert_eq!(container["overrides"], r#"{"command":["other"]}"#);
    assert_eq!(container["memory"], 32);
    assert_eq!((&payload["cpu"], &payload["memory"]), (&json!(0.5), &json!(1024)));
}

#[test]
fn without_limits_of_its_own_a_task_has_none() {
    let world = World::new();
    let payload = compiled(&world, |_| {}, None);
    assert!(payload.get("cpu").is_none() && payload.get("memory").is_none());
    assert_eq!(payload["containers"][0]["overrides"], "{}");
}

#[test]
fn docker_gets_its_own_words() {
    let world = World::new();
    let payload = compiled(
        &world,
        |container| {
            container.user = Some("65534".to_owned());
            container.working_directory = Some("/tmp".to_owned());
            container.readonly_root_filesystem = Some(true);
            container.memory_reservation = Some(16);
            container.docker_labels = Some([("a".to_owned(), "b".to_owned())].into());
            container.health_check = Some(HealthCheck {
                command: Some(vec!["CMD".to_owned(), "true".to_owned()]),
                interval: Some(10),
                ..Default::default()
            });
            container.ulimits = Some(vec![Ulimit {
                name: Some("nofile".to_owned()),
                soft_limit: Some(1),
                hard_limit: Some(2),
            }]);
            container.linux_parameters = Some(LinuxParameters {
                capabilities: Some(KernelCapabilities {
                    add: Some(vec!["NET_ADMIN".to_owned()]),
                    drop: None,
                }),
                init_process_enabled: Some(true),
                shared_memory_size: Some(2),
                ..Default::default()
            });
            container.mount_points = Some(vec![MountPoint {
                source_volume: Some("data".to_owned()),
                container_path: Some("/data".to_owned()),
                read_only: Some(true),
            }]);
            container.stop_timeout = Some(7);
        },
        None,
    );
    let container = &payload["containers"][0];
    let object = |name: &str| -> Value {
        let text = container["dockerConfig"][name].as_str().expect("JSON in a string");
        serde_json::from_str(text).expect("JSON")
    };
    assert_eq!(
        object("config"),
        json!({
            "User": "65534",
            "WorkingDir": "/tmp",
            "Labels": { "a": "b" },
            "Healthcheck": {
                "Test": ["CMD", "true"],
                "Interval": 10_000_000_000_i64,
                "Timeout": 5_000_000_000_i64,
                "Retries": 3,
            },
        })
    );
    assert_eq!(
        object("hostConfig"),
        json!({
            "NetworkMode": "awsvpc",
            "ReadonlyRootfs": true,
            "MemoryReservation": 16 * 1024 * 1024,
            "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }],
            "CapAdd": ["NET_ADMIN"],
            "Init": true,
            "ShmSize": 2 * 1024 * 1024,
        })
    );
    assert_eq!(container["healthCheckType"], "docker");
    assert_eq!(container["stopTimeout"], 7);
    assert_eq!(
        container["mountPoints"],
        json!([{ "containerPath": "/data", "readOnly": true, "sourceVolume": "data" }])
    );
    assert_eq!(
        payload["volumes"],
        json!([
            { "name": "data", "type": "host", "host": { "sourcePath": "/srv" } },
            { "name": "scratch", "type": "host", "host": { "sourcePath": "" } },
        ])
    );
}

#[test]
fn a_log_driver_keeps_its_options() {
    let told = |driver: &str, options: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let definition = ContainerDefinition {
            name: Some("web".to_owned()),
            log_configuration: Some(LogConfiguration {
                log_driver: Some(driver.to_owned()),
                options: Some(options.iter().map(pair).collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        docker::host_config(&definition, None, NetworkMode::Awsvpc, "0123abcd")["LogConfig"].clone()
    };
    let group = ("awslogs-group", "g");
    for (driver, options) in [("json-file", [("max-size", "1m")]), ("awslogs", [group])] {
        let options_told: BTreeMap<_, _> = options.into();
        assert_eq!(told(driver, &options), json!({ "Type": driver, "Config": options_told }));
    }
    assert_eq!(
        told("awslogs", &[group, ("awslogs-stream-prefix", "front")])["Config"],
        json!({ "awslogs-group": "g", "awslogs-stream": "front/web/0123abcd" })
    );
}
