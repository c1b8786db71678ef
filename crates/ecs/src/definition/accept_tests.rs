//! What is taken in as a task definition, and what is not.

use super::*;
use wire::ecs::{
    ContainerDependency, EphemeralStorage, HealthCheck, KeyValuePair, LinuxParameters, MountPoint,
    PortMapping, Ulimit, Volume,
};

fn container() -> ContainerDefinition {
    ContainerDefinition {
        name: Some("web".to_owned()),
        image: Some("web:1".to_owned()),
        memory: Some(64),
        ..Default::default()
    }
}

fn request(containers: Vec<ContainerDefinition>) -> RegisterTaskDefinitionRequest {
    RegisterTaskDefinitionRequest {
        family: Some("web".to_owned()),
        network_mode: Some("awsvpc".to_owned()),
        container_definitions: Some(containers),
        ..Default::default()
    }
}

fn port(inside: i32, outside: Option<i32>) -> Vec<PortMapping> {
    vec![PortMapping { container_port: Some(inside), host_port: outside, ..Default::default() }]
}

#[test]
fn what_aws_fills_in_is_filled_in() {
    let given = ContainerDefinition { port_mappings: Some(port(80, None)), ..container() };
    let (_, spec, _) = accept(request(vec![given])).expect("sound");
    let taken = &spec.container_definitions[0];
    assert_eq!((taken.cpu, taken.essential), (Some(0), Some(true)));
    assert_eq!(taken.environment, Some(vec![]));
    let mapping = &taken.port_mappings.as_ref().expect("there")[0];
    assert_eq!((mapping.host_port, mapping.protocol.as_deref()), (Some(80), Some("tcp")));
}

#[test]
fn sizes_are_written_in_plain_units() {
    let sized = RegisterTaskDefinitionRequest {
        cpu: Some(".5 vCPU".to_owned()),
        memory: Some("1 GB".to_owned()),
        ..request(vec![container()])
    };
    let (_, spec, _) = accept(sized).expect("sound");
    assert_eq!((spec.cpu.as_deref(), spec.memory.as_deref()), (Some("512"), Some("1024")));
}

#[test]
fn a_definition_is_kept_as_it_was_given() {
    let full = ContainerDefinition {
        cpu: Some(10),
        essential: Some(true),
        command: Some(vec!["run".to_owned()]),
        docker_labels: Some([("a".to_owned(), "b".to_owned())].into()),
        stop_timeout: Some(7),
        user: Some("nobody".to_owned()),
        port_mappings: Some(vec![]),
        environment: Some(vec![]),
        mount_points: Some(vec![]),
        volumes_from: Some(vec![]),
        system_controls: Some(vec![]),
        ..container()
    };
    let (_, spec, _) = accept(request(vec![full.clone()])).expect("sound");
    assert_eq!(spec.container_definitions, [full]);
    let stored = serde_json::to_vec(&spec).expect("serializes");
    assert_eq!(serde_json::from_slice::<Spec>(&stored).expect("reads back"), spec);
}

#[test]
fn each_mistake_has_aws_words() {
    let one = |change: fn(&mut ContainerDefinition)| {
        let mut changed = container();
        change(&mut changed);
        request(vec![changed])
    };
    let mut fargate = request(vec![container()]);
    fargate.requires_compatibilities = Some(vec!["FARGATE".to_owned()]);
    let table: [(RegisterTaskDefinitionRequest, &str); 19] = [
        (request(vec![]), "Container list cannot be empty."),
        (
            RegisterTaskDefinitionRequest {
                family: Some("a b".to_owned()),
                ..request(vec![container()])
            },
            "Family contains invalid characters.",
        ),
        (request(vec![container(), container()]), "Container name 'web' is not unique."),
        (one(|c| c.name = None), "Container.name should not be null or empty."),
        (one(|c| c.image = None), "Container.image should not be null or empty."),
        (
            one(|c| c.memory = None),
            "Invalid setting for container 'web'. At least one of 'memory' or \
             'memoryReservation' must be specified.",
        ),
        (
            one(|c| c.essential = Some(false)),
            "A task definition must have at least one essential container.",
        ),
        (
            one(|c| c.port_mappings = Some(port(80, Some(8080)))),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must \
             match.",
        ),
        (one(|c| c.port_mappings = Some(port(0, None))), "Invalid port."),
        (one(|c| c.port_mappings = Some(port(80, Some(-1)))), "Invalid port."),
        (
            one(|c| c.hostname = Some("h".to_owned())),
            "'hostname' is not supported on container 'web' when networkMode=awsvpc.",
        ),
        (one(|c| c.links = Some(vec!["db".to_owned()])), "'links' is not supported"),
        (
            one(|c| {
                c.mount_points = Some(vec![MountPoint {
                    source_volume: Some("data".to_owned()),
                    container_path: Some("/data".to_owned()),
                    ..Default::default()
                }]);
            }),
            "Unknown volume 'data'.",
        ),
        (
            one(|c| {
                c.depends_on = Some(vec![ContainerDependency {
                    container_name: Some("db".to_owned()),
                    condition: Some("START".to_owned()),
                }]);
            }),
            "Container 'web' refers to the unknown container 'db'.",
        ),
        (one(|c| c.memory_reservation = Some(65)), "Invalid setting for container 'web'."),
        (
            RegisterTaskDefinitionRequest {
                cpu: Some("many".to_owned()),
                ..request(vec![container()])
            },
            "Invalid 'cpu' setting for task.",
        ),
        (
            RegisterTaskDefinitionRequest {
                memory: Some("-1".to_owned()),
                ..request(vec![container()])
            },
            "Invalid 'memory' setting for task.",
        ),
        (
            RegisterTaskDefinitionRequest {
                cpu: Some("256".to_owned()),
                memory: Some("128".to_owned()),
                ..fargate.clone()
            },
            "No Fargate configuration exists for given values: 256 CPU, 128 memory.",
        ),
        (fargate, "Fargate requires that 'cpu' be defined at the task level."),
    ];
    for (request, wanted) in table {
        let fault = accept(request).expect_err(wanted).fault();
        assert_eq!(fault.code, "ClientException");
        assert!(fault.message.starts_with(wanted), "{} is not {wanted}", fault.message);
    }
}

/// One container that differs from a sound one.
fn one(change: fn(&mut ContainerDefinition)) -> RegisterTaskDefinitionRequest {
    let mut changed = container();
    change(&mut changed);
    request(vec![changed])
}

/// Another than `web`, which waits for `web`.
fn waiting(condition: &str) -> ContainerDefinition {
    let on = ContainerDependency {
        container_name: Some("web".to_owned()),
        condition: Some(condition.to_owned()),
    };
    let depends_on = Some(vec![on]);
    ContainerDefinition { name: Some("b".to_owned()), depends_on, ..container() }
}

fn refused(request: RegisterTaskDefinitionRequest, wanted: &str) {
    let fault = accept(request).expect_err(wanted).fault();
    assert_eq!(fault.code, "ClientException");
    assert!(fault.message.contains(wanted), "{} is not {wanted}", fault.message);
}

#[test]
fn bounds_that_the_model_does_not_state() {
    let named = |name: &str| PortMapping {
        container_port: Some(80),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    let ranged = |range: &str, mode: &str| {
        let mapping =
            PortMapping { container_port_range: Some(range.to_owned()), ..Default::default() };
        let it = ContainerDefinition { port_mappings: Some(vec![mapping]), ..container() };
        let network_mode = Some(mode.to_owned());
        RegisterTaskDefinitionRequest { network_mode, ..request(vec![it]) }
    };
    let ports = |mappings| {
        request(vec![ContainerDefinition { port_mappings: Some(mappings), ..container() }])
    };
    let limit = |soft, hard| Ulimit {
        name: Some("nofile".to_owned()),
        soft_limit: Some(soft),
        hard_limit: Some(hard),
    };
    let limits = |all| request(vec![ContainerDefinition { ulimits: Some(all), ..container() }]);
    for (request, wanted) in [
        (one(|c| c.image = Some("a b".into())), "Container.image contains invalid characters."),
        (one(|c| c.stop_timeout = Some(-1)), "'stopTimeout' must not be negative."),
        (one(|c| c.environment = Some(vec![KeyValuePair::default()])), "must have a name."),
        (one(|c| c.health_check = Some(HealthCheck::default())), "'healthCheck.command'"),
        (
            one(|c| {
                c.health_check = Some(HealthCheck {
                    command: Some(vec!["CMD".into()]),
                    retries: Some(11),
                    ..Default::default()
                });
            }),
            "'healthCheck.retries' must be between 1 and 10.",
        ),
        (
            one(|c| {
                c.linux_parameters =
                    Some(LinuxParameters { swappiness: Some(101), ..Default::default() });
            }),
            "'linuxParameters.swappiness' must be between 0 and 100.",
        ),
        (limits(vec![limit(2, 1)]), "must not exceed its hard limit."),
        (limits(vec![limit(1, 2); 2]), "Duplicate ulimit 'nofile'."),
        (ports(vec![named("Http")]), "Invalid port mapping name 'Http'."),
        (ports(vec![named("http"), named("http")]), "The port mapping name 'http' is not unique."),
        (ranged("90-80", "awsvpc"), "Invalid containerPortRange '90-80'."),
        (ranged("0-1", "bridge"), "Invalid containerPortRange '0-1'."),
        (ranged("80-90", "host"), "containerPortRange is not supported when networkMode=host."),
        (request(vec![container(), waiting("HEALTHY")]), "which has no health check."),
        (request(vec![container(), waiting("SUCCESS")]), "which is essential."),
        (
            RegisterTaskDefinitionRequest {
                volumes: Some(vec![Volume::default()]),
                ..request(vec![container()])
            },
            "Invalid volume name ''.",
        ),
        (
            RegisterTaskDefinitionRequest {
                ephemeral_storage: Some(EphemeralStorage { size_in_gi_b: Some(201) }),
                ..request(vec![container()])
            },
            "'ephemeralStorage.sizeInGiB' must be between 20 and 200.",
        ),
        (
            RegisterTaskDefinitionRequest {
                requires_compatibilities: Some(vec!["EXTERNAL".to_owned()]),
                ..request(vec![container()])
            },
            "External instances do not support network mode",
        ),
        (
            request(vec![ContainerDefinition {
                command: Some(vec!["x".repeat(64 << 10)]),
                ..container()
            }]),
            "Max allowed length is '65536' bytes.",
        ),
    ] {
        refused(request, wanted);
    }
    assert!(accept(limits(vec![limit(1, -1)])).is_ok(), "-1 is no limit");
    assert!(accept(ranged("80-90", "awsvpc")).is_ok());
}

#[test]
fn containers_that_wait_for_each_other_never_come_up() {
    let mut web = container();
    assert!(accept(request(vec![web.clone(), waiting("START")])).is_ok());
    let on = ContainerDependency {
        container_name: Some("b".to_owned()),
        condition: Some("START".to_owned()),
    };
    web.depends_on = Some(vec![on]);
    refused(request(vec![web, waiting("START")]), "form a circle.");
}

#[test]
fn volumes_that_are_there_may_be_mounted() {
    let mount = MountPoint {
        source_volume: Some("data".to_owned()),
        container_path: Some("/data".to_owned()),
        ..Default::default()
    };
    let mounting = ContainerDefinition { mount_points: Some(vec![mount]), ..container() };
    let volume = Volume { name: Some("data".to_owned()), ..Default::default() };
    let sound =
        RegisterTaskDefinitionRequest { volumes: Some(vec![volume]), ..request(vec![mounting]) };
    assert!(accept(sound).is_ok());
}
