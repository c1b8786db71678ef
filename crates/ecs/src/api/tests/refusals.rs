//! Requests that AWS refuses, and what it says.

use crate::api::*;
use crate::testing::{World, network, ready};
use chassis::Principal;
use ident::InstanceId;
use wire::ecs::{
    self, CapacityProviderStrategyItem, ContainerOverride, KeyValuePair, PlacementConstraint,
    PlacementStrategy, RunTaskRequest, TaskOverride,
};

type Change = fn(&World, &mut RunTaskRequest);

/// What RunTask refuses: how the request differs from a good one, the code, and
/// how the text begins.
#[rustfmt::skip]
const RUN_TASK: &[(Change, &str, &str)] = &[
    (|_, r| r.cluster = Some("nowhere".into()),
        "ClusterNotFoundException", "Cluster not found."),
    (|_, r| r.cluster = Some("a b".into()),
        "InvalidParameterException", "Invalid cluster name."),
    (|_, r| r.task_definition = Some("unheard-of".into()),
        "ClientException", "TaskDefinition not found."),
    (|_, r| r.task_definition = Some("web:9".into()),
        "ClientException", "TaskDefinition not found."),
    (|_, r| r.task_definition = Some("web:x".into()),
        "ClientException", "Invalid revision number. Number: x"),
    (|_, r| r.count = Some(0),
        "InvalidParameterException", "Tasks count must be between 1 and 10."),
    (|_, r| r.count = Some(11),
        "InvalidParameterException", "Tasks count must be between 1 and 10."),
    (|_, r| r.network_configuration = None,
        "InvalidParameterException",
        "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
    (|w, r| r.network_configuration = Some(network(&vec![w.subnets()[0].clone(); 17], &[])),
        "InvalidParameterException", "subnets can have at most 16 items."),
    (|_, r| r.network_configuration = Some(network(&[], &[])),
        "InvalidParameterException", "subnets can not be empty."),
    (|w, r| r.network_configuration = Some(network(&w.subnets()[..1], &vec!["sg-1".into(); 6])),
        "InvalidParameterException", "securityGroups can have at most 5 items."),
    (|_, r| r.network_configuration = Some(network(&["subnet-0123456789abcdef0".into()], &[])),
        "InvalidParameterException",
        "Error retrieving subnet information for [subnet-0123456789abcdef0]: The subnet ID"),
    (|w, r| r.network_configuration =
            Some(network(&w.subnets()[..1], &["sg-0123456789abcdef0".into()])),
        "InvalidParameterException",
        "Error retrieving security group information for [sg-0123456789abcdef0]: The security"),
    (|_, r| if let Some(n) = &mut r.network_configuration
            && let Some(awsvpc) = &mut n.awsvpc_configuration {
            awsvpc.assign_public_ip = Some("ENABLED".into());
        },
        "InvalidParameterException", "Assign public IP is not supported for this launch type."),
    (|_, r| r.launch_type = Some("EXTERNAL".into()),
        "InvalidParameterException", "Task definition does not support launch_type EXTERNAL."),
    (|_, r| r.launch_type = Some("FARGATE".into()),
        "ClientException", "Landfall does not support launch type FARGATE yet."),
    (|_, r| r.platform_version = Some("1.4.0".into()),
        "InvalidParameterException",
        "The platform version must be null when specifying an EC2 launch type."),
    (|_, r| r.overrides = Some(over("db")),
        "InvalidParameterException",
        "Override for container named db is not a container in the TaskDefinition."),
    (|_, r| r.group = Some("service:web".into()),
        "InvalidParameterException", "The prefix 'service:'"),
    (|_, r| r.propagate_tags = Some("SERVICE".into()),
        "InvalidParameterException", "A task that no service starts"),
    (|_, r| r.enable_execute_command = Some(true),
        "ClientException", "Landfall does not support enableExecuteCommand yet."),
    (|_, r| r.placement_constraints = Some(vec![PlacementConstraint::default()]),
        "InvalidParameterException", "constraint.type must be specified."),
    (|_, r| r.placement_strategy = Some(vec![PlacementStrategy::default()]),
        "InvalidParameterException", "placement strategy type must be specified."),
    (|_, r| r.capacity_provider_strategy = Some(vec![CapacityProviderStrategyItem {
            capacity_provider: Some("spot".into()),
            ..Default::default()
        }]),
        "InvalidParameterException", "The specified capacity provider strategy cannot contain"),
    (|_, r| r.overrides = Some(TaskOverride {
            task_role_arn: Some("arn:aws:iam::000000000000:role/x".into()),
            ..Default::default()
        }),
        "ClientException", "ECS was unable to assume the role 'arn:aws:iam::000000000000:role/x'"),
    (|_, r| r.started_by = Some("x".repeat(129)),
        "InvalidParameterException", "startedBy longer than 128."),
    (|_, r| r.started_by = Some("a b".into()),
        "InvalidParameterException", "startedBy contains invalid characters."),
    (|_, r| r.group = Some("x".repeat(256)),
        "InvalidParameterException", "group longer than 255."),
    (|_, r| r.client_token = Some("x".repeat(65)),
        "InvalidParameterException", "clientToken longer than 64."),
    (|_, r| r.client_token = Some("a b".into()),
        "InvalidParameterException", "clientToken contains invalid characters."),
    (|_, r| r.reference_id = Some("x".repeat(1025)),
        "InvalidParameterException", "referenceId longer than 1024."),
    (|_, r| r.tags = Some(vec![ecs::Tag { key: Some("aws:x".into()), value: None }]),
        "InvalidParameterException", "Tag keys starting with 'aws:' are reserved"),
    (|_, r| r.tags = Some(vec![ecs::Tag { key: Some("a".into()), value: None }; 2]),
        "InvalidParameterException", "Duplicate tag keys are not allowed: a"),
    (|_, r| r.overrides = Some(changed(|o| o.command = Some(vec!["x".repeat(8192)]))),
        "InvalidParameterException", "Container Overrides length must be at most 8192"),
    (|_, r| r.overrides = Some(changed(|o| o.memory = Some(3))),
        "ClientException", "Invalid setting for container 'web'. Memory limits"),
    (|_, r| r.overrides = Some(changed(|o| o.environment = Some(vec![KeyValuePair::default()]))),
        "InvalidParameterException", "An environment variable in the override"),
    (|_, r| r.overrides = Some(TaskOverride {
            container_overrides: changed(|_| {}).container_overrides.map(|o| [o.clone(), o].concat()),
            ..Default::default()
        }),
        "InvalidParameterException", "Several overrides for container named web."),
    (|_, r| r.overrides = Some(TaskOverride { cpu: Some("1".into()), ..Default::default() }),
        "ClientException", "Invalid 'cpu' setting for task."),
];

/// An override of `web`.
fn changed(change: fn(&mut ContainerOverride)) -> TaskOverride {
    let mut one = ContainerOverride { name: Some("web".to_owned()), ..Default::default() };
    change(&mut one);
    TaskOverride { container_overrides: Some(vec![one]), ..Default::default() }
}

fn over(container: &str) -> TaskOverride {
    let over = ContainerOverride { name: Some(container.to_owned()), ..Default::default() };
    TaskOverride { container_overrides: Some(vec![over]), ..Default::default() }
}

#[test]
fn run_task_is_refused_in_aws_words() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let revision = world.view().revision();
    for (change, code, text) in RUN_TASK {
        let fault = world.run(|request| change(&world, request)).expect_err(text).fault();
        assert_eq!((fault.status, &*fault.code), (400, *code), "{text}");
        assert!(fault.message.starts_with(text), "{:?} is not {text:?}", fault.message);
    }
    assert_eq!(world.view().revision(), revision, "a refusal leaves no trace");
}

#[test]
fn a_cluster_without_instances_says_so() {
    let world = World::new();
    world.define(|_| {});
    let fault = world.run(|_| {}).expect_err("empty").fault();
    assert_eq!(
        (&*fault.code, &*fault.message),
        ("InvalidParameterException", "No Container Instances were found in your cluster.")
    );
}

#[test]
fn a_network_without_awsvpc_is_refused() {
    let world = World::new();
    world.instance(1);
    world.define(|request| request.network_mode = Some("host".to_owned()));
    let fault = world.run(|_| {}).expect_err("no use for it").fault();
    assert!(fault.message.starts_with("Network Configuration is not valid"), "{fault}");
}

#[test]
fn definitions_that_we_cannot_obey_are_kept_and_not_run() {
    let world = World::new();
    world.instance(1);
    world.define(|request| request.enable_fault_injection = Some(true));
    let fault = world.run(|_| {}).expect_err("not yet").fault();
    assert_eq!(fault.message, "Landfall does not support fault injection yet.");
}

#[test]
fn every_operation_looks_for_its_cluster() {
    let world = World::new();
    let cx = world.root();
    let nowhere = || Some("nowhere".to_owned());
    let some = |id: &str| Some(vec![id.to_owned()]);
    let faults = [
        describe_tasks(
            &cx,
            ecs::DescribeTasksRequest {
                cluster: nowhere(),
                tasks: some("x"),
                ..Default::default()
            },
        )
        .map(drop),
        list_tasks(&cx, &ecs::ListTasksRequest { cluster: nowhere(), ..Default::default() })
            .map(drop),
        ready(stop_task(
            &cx,
            ecs::StopTaskRequest {
                cluster: nowhere(),
                task: Some("0".repeat(32)),
                ..Default::default()
            },
        ))
        .map(drop),
        describe_container_instances(
            &cx,
            ecs::DescribeContainerInstancesRequest {
                cluster: nowhere(),
                container_instances: some("x"),
                ..Default::default()
            },
        )
        .map(drop),
        list_container_instances(
            &cx,
            ecs::ListContainerInstancesRequest { cluster: nowhere(), ..Default::default() },
        )
        .map(drop),
        ready(register_container_instance(
            &cx,
            ecs::RegisterContainerInstanceRequest { cluster: nowhere(), ..Default::default() },
        ))
        .map(drop),
        ready(submit_task_state_change(
            &cx,
            ecs::SubmitTaskStateChangeRequest {
                cluster: nowhere(),
                task: Some("0".repeat(32)),
                ..Default::default()
            },
        ))
        .map(drop),
        submit_attachment_state_changes(
            &cx,
            &ecs::SubmitAttachmentStateChangesRequest { cluster: nowhere(), ..Default::default() },
        )
        .map(drop),
    ];
    for fault in faults {
        assert_eq!(fault.expect_err("no cluster").fault().code, "ClusterNotFoundException");
    }
}

#[test]
fn an_endpoint_is_under_the_edge() {
    let world = World::new();
    let service = crate::Ecs { public_url: "http://10.0.0.1:4566/".to_owned(), identity: None };
    let request = ecs::DiscoverPollEndpointRequest::default();
    let answer = discover_poll_endpoint(&service, &world.root(), &request).expect("told");
    assert_eq!(answer.endpoint.as_deref(), Some("http://10.0.0.1:4566/acs/"));
    assert_eq!(answer.telemetry_endpoint.as_deref(), Some("http://10.0.0.1:4566/tcs/"));
}

#[test]
fn an_endpoint_is_told_to_whom_it_lets_in() {
    let world = World::new();
    let service = crate::Ecs { public_url: "http://10.0.0.1:4566/".to_owned(), identity: None };
    let instance = world.instance(1);
    let own = Principal::Instance(instance.ec2_instance.clone().expect("an EC2 instance"));
    let ask = |principal: Principal, text: &str| {
        let request = ecs::DiscoverPollEndpointRequest {
            container_instance: Some(text.to_owned()),
            ..Default::default()
        };
        discover_poll_endpoint(&service, &world.cx(principal), &request)
    };
    for text in [instance.arn().to_string(), instance.id.to_string(), String::new()] {
        ask(own.clone(), &text).expect("told");
    }
    let unknown = "0".repeat(32);
    let elsewhere = instance.arn().to_string().replace("/default/", "/other/");
    for (principal, text, code) in [
        (Principal::Root, instance.id.as_str(), "AccessDeniedException"),
        (Principal::Instance(InstanceId::mint(2)), instance.id.as_str(), "AccessDeniedException"),
        (own.clone(), &*unknown, "InactiveInstanceException"),
        (own.clone(), &*elsewhere, "InvalidParameterException"),
        (own.clone(), "x", "InvalidParameterException"),
    ] {
        let refused = ask(principal, text).expect_err(text);
        assert_eq!(refused.fault().code, code, "{text}");
    }
}
