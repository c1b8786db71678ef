//! What is taken in as a task definition, and what is not.

use super::*;
use crate::definition::testing::{accepted, containers as request, fargate, refused, task, web};
use wire::ecs::{
    ContainerDependency, EphemeralStorage, HealthCheck, InferenceAccelerator, KeyValuePair,
    LogConfiguration, MountPoint, PortMapping, Secret, SystemControl, Tag,
    TaskDefinitionPlacementConstraint, Ulimit, Volume,
};

fn port(inside: i32, outside: Option<i32>) -> Vec<PortMapping> {
    vec![PortMapping { container_port: Some(inside), host_port: outside, ..Default::default() }]
}

#[test]
fn what_aws_fills_in_is_filled_in() {
    let given = ContainerDefinition { port_mappings: Some(port(80, None)), ..web() };
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
        ..request(vec![web()])
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
        ..web()
    };
    let (_, spec, _) = accept(request(vec![full.clone()])).expect("sound");
    assert_eq!(spec.container_definitions, [full]);
    let stored = serde_json::to_vec(&spec).expect("serializes");
    assert_eq!(serde_json::from_slice::<Spec>(&stored).expect("reads back"), spec);
}

/// A definition that says as much as one can.
fn kitchen_sink() -> RegisterTaskDefinitionRequest {
    let pair = |name: &str, value: &str| KeyValuePair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let main = ContainerDefinition {
        cpu: Some(128),
        memory: Some(256),
        memory_reservation: Some(128),
        essential: Some(true),
        entry_point: Some(vec!["sh".to_owned(), "-c".to_owned()]),
        command: Some(vec!["run".to_owned()]),
        environment: Some(vec![pair("A", "1")]),
        secrets: Some(vec![Secret {
            name: Some("B".to_owned()),
            value_from: Some("/b".to_owned()),
        }]),
        port_mappings: Some(vec![PortMapping {
            container_port: Some(80),
            host_port: Some(80),
            protocol: Some("tcp".to_owned()),
            name: Some("http".to_owned()),
            app_protocol: Some("http2".to_owned()),
            container_port_range: None,
        }]),
        mount_points: Some(vec![MountPoint {
            source_volume: Some("data".to_owned()),
            container_path: Some("/data".to_owned()),
            read_only: Some(true),
        }]),
        volumes_from: Some(vec![]),
        depends_on: Some(vec![ContainerDependency {
            container_name: Some("init".to_owned()),
            condition: Some("SUCCESS".to_owned()),
        }]),
        health_check: Some(HealthCheck {
            command: Some(vec!["CMD-SHELL".to_owned(), "true".to_owned()]),
            ..Default::default()
        }),
        log_configuration: Some(LogConfiguration {
            log_driver: Some("json-file".to_owned()),
            ..Default::default()
        }),
        ulimits: Some(vec![Ulimit {
            name: Some("nofile".to_owned()),
            soft_limit: Some(1024),
            hard_limit: Some(2048),
        }]),
        system_controls: Some(vec![SystemControl {
            namespace: Some("net.core.somaxconn".to_owned()),
            value: Some("1024".to_owned()),
        }]),
        docker_labels: Some([("team".to_owned(), "web".to_owned())].into()),
        start_timeout: Some(30),
        stop_timeout: Some(30),
        version_consistency: Some("disabled".to_owned()),
        readonly_root_filesystem: Some(true),
        interactive: Some(true),
        pseudo_terminal: Some(true),
        user: Some("nobody".to_owned()),
        working_directory: Some("/srv".to_owned()),
        ..web()
    };
    let init = ContainerDefinition {
        name: Some("init".to_owned()),
        cpu: Some(0),
        essential: Some(false),
        environment: Some(vec![]),
        port_mappings: Some(vec![]),
        mount_points: Some(vec![]),
        volumes_from: Some(vec![]),
        system_controls: Some(vec![]),
        ..web()
    };
    RegisterTaskDefinitionRequest {
        cpu: Some("512".to_owned()),
        memory: Some("1024".to_owned()),
        execution_role_arn: Some("arn:aws:iam::000000000000:role/exec".to_owned()),
        volumes: Some(vec![Volume { name: Some("data".to_owned()), ..Default::default() }]),
        requires_compatibilities: Some(vec!["EC2".to_owned()]),
        placement_constraints: Some(vec![TaskDefinitionPlacementConstraint {
            r#type: Some("memberOf".to_owned()),
            expression: Some("attribute:a exists".to_owned()),
        }]),
        enable_fault_injection: Some(false),
        ..request(vec![main, init])
    }
}

#[test]
fn as_much_as_one_can_say_comes_back_unchanged() {
    let given = kitchen_sink();
    let (_, spec, _) = accept(given.clone()).expect("sound");
    assert_eq!(Some(&spec.container_definitions), given.container_definitions.as_ref());
    assert_eq!(Some(&spec.volumes), given.volumes.as_ref());
    assert_eq!(Some(&spec.placement_constraints), given.placement_constraints.as_ref());
    assert_eq!((&spec.cpu, &spec.memory), (&given.cpu, &given.memory));
    assert_eq!(spec.execution_role_arn, given.execution_role_arn);
    // What was accepted is accepted again, and is the same.
    let again = RegisterTaskDefinitionRequest {
        container_definitions: Some(spec.container_definitions.clone()),
        ..given
    };
    assert_eq!(accept(again).expect("sound").1, spec);
}

#[test]
fn accepted_and_refused() {
    let accelerator = || InferenceAccelerator {
        device_name: Some("eia".to_owned()),
        device_type: Some("eia1.medium".to_owned()),
    };
    let constraint = |expression: &str| TaskDefinitionPlacementConstraint {
        r#type: Some("memberOf".to_owned()),
        expression: Some(expression.to_owned()),
    };
    let storage = |gib| Some(EphemeralStorage { size_in_gi_b: Some(gib) });
    let role = |text: &str| task(|it| it.task_role_arn = Some(text.to_owned()));
    let tag = || Tag { key: Some("team".to_owned()), value: None };
    for request in [
        fargate(|it| it.ephemeral_storage = storage(200)),
        task(|it| it.placement_constraints = Some(vec![constraint("attribute:a exists"); 10])),
        role("arn:aws:iam::000000000000:role/path/web"),
        role("web"),
        task(|it| it.tags = Some(vec![tag()])),
    ] {
        accepted(request);
    }
    for (request, wanted) in [
        (task(|it| it.family = None), "Family should not be null or empty."),
        (task(|it| it.family = Some("a b".into())), "Family contains invalid characters."),
        (task(|it| it.family = Some("x".repeat(256))), "Family can have at most 255"),
        (task(|it| it.tags = Some(vec![])), "Tags can not be empty."),
        (task(|it| it.ephemeral_storage = storage(21)), "only supported for tasks that run on"),
        (fargate(|it| it.ephemeral_storage = storage(19)), "must be between 20 and 200."),
        (fargate(|it| it.ephemeral_storage = storage(201)), "must be between 20 and 200."),
        (
            task(|it| it.placement_constraints = Some(vec![constraint("x"); 11])),
            "at most 10 placement constraints.",
        ),
        (
            task(|it| it.placement_constraints = Some(vec![constraint("")])),
            "must have an expression.",
        ),
        (
            task(|it| it.placement_constraints = Some(vec![constraint("attribute:a = b")])),
            "Invalid expression 'attribute:a = b': the operator is written '=='",
        ),
        (
            task(|it| it.inference_accelerators = Some(vec![accelerator(), accelerator()])),
            "Inference accelerator 'eia' is not unique.",
        ),
        (role("arn:aws:iam::000000000000:user/web"), "Role is not valid"),
        (role("a b"), "Role is not valid"),
        (
            request(vec![ContainerDefinition {
                command: Some(vec!["x".repeat(64 << 10)]),
                ..web()
            }]),
            "Max allowed length is '65536' bytes.",
        ),
    ] {
        refused(request, wanted);
    }
}
