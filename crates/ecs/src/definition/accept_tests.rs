//! What is taken in as a task definition, and what is not.

use super::*;
use wire::ecs::{ContainerDependency, MountPoint, Volume};

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

#[test]
fn volumes_that_are_there_may_be_mounted() {
    let mount = MountPoint { source_volume: Some("data".to_owned()), ..Default::default() };
    let mounting = ContainerDefinition { mount_points: Some(vec![mount]), ..container() };
    let volume = Volume { name: Some("data".to_owned()), ..Default::default() };
    let sound =
        RegisterTaskDefinitionRequest { volumes: Some(vec![volume]), ..request(vec![mounting]) };
    assert!(accept(sound).is_ok());
}
