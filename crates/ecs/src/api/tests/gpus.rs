//! GPUs: which tasks get which, and when they are free again.

use crate::acs;
use crate::api;
use crate::records::ContainerInstance;
use crate::testing::{World, definition, ready, registration};
use chassis::Principal;
use sched::lifecycle::Desired;
use wire::ecs::{
    ContainerDefinition, ContainerOverride, DescribeContainerInstancesRequest, PlatformDevice,
    RegisterContainerInstanceRequest, Resource, ResourceRequirement, RunTaskRequest,
    StartTaskRequest, TaskOverride,
};

/// A world with a machine that has these GPUs.
fn world(ids: &[&str]) -> (World, ContainerInstance) {
    let world = World::new();
    let machine = world.instance(1);
    come_again(&world, &machine, ids);
    let machine = world.instance_record(&machine.id);
    (world, machine)
}

/// The machine registers again, with these GPUs.
fn come_again(world: &World, machine: &ContainerInstance, ids: &[&str]) {
    let device =
        |id: &&str| PlatformDevice { id: Some((*id).to_owned()), r#type: Some("GPU".to_owned()) };
    let request = RegisterContainerInstanceRequest {
        container_instance_arn: Some(machine.arn().to_string()),
        platform_devices: Some(ids.iter().map(device).collect()),
        ..registration()
    };
    let host = machine.ec2_instance.clone().expect("an EC2 instance");
    let cx = world.cx(Principal::Instance(host));
    ready(api::register_container_instance(&cx, request)).expect("registered");
}

fn gpus(many: u32) -> ResourceRequirement {
    ResourceRequirement {
        r#type: Some("GPU".to_owned()),
        value: Some(many.to_string()),
        ..Default::default()
    }
}

/// A definition with a container for each number, which wants so many GPUs.
fn define(world: &World, each: &[u32]) {
    let web = definition().container_definitions.expect("containers").remove(0);
    let container = |(number, many): (usize, &u32)| ContainerDefinition {
        name: Some(format!("c{number}")),
        resource_requirements: (*many > 0).then(|| vec![gpus(*many)]),
        port_mappings: None,
        ..web.clone()
    };
    let all = each.iter().enumerate().map(container).collect();
    world.define(|request| request.container_definitions = Some(all));
}

/// The GPUs of the machine: all of them, and those that are left.
fn of(world: &World, machine: &ContainerInstance) -> [Vec<String>; 2] {
    let request = DescribeContainerInstancesRequest {
        container_instances: Some(vec![machine.arn().to_string()]),
        ..Default::default()
    };
    let shown = api::describe_container_instances(&world.root(), request).expect("described");
    let shown = shown.container_instances.expect("instances").remove(0);
    let ids = |resources: Option<Vec<Resource>>| {
        let gpu = |one: &Resource| one.name.as_deref() == Some("GPU");
        resources.into_iter().flatten().find(gpu).and_then(|one| one.string_set_value)
    };
    [ids(shown.registered_resources), ids(shown.remaining_resources)].map(Option::unwrap_or_default)
}

/// The GPUs of each container of each task.
fn given(tasks: Option<Vec<wire::ecs::Task>>) -> Vec<Vec<Vec<String>>> {
    let containers = |task: wire::ecs::Task| task.containers.into_iter().flatten();
    let of = |task| containers(task).map(|it| it.gpu_ids.unwrap_or_default()).collect();
    tasks.into_iter().flatten().map(of).collect()
}

#[test]
fn each_container_has_its_own_while_the_task_lasts() {
    let (world, machine) = world(&["GPU-a", "GPU-b", "GPU-c"]);
    define(&world, &[1, 0, 1]);
    let id = world.run_one();
    let shown = world.shown(&id);
    let one = |id: &str| vec![id.to_owned()];
    assert_eq!(given(Some(vec![shown])), [[one("GPU-a"), vec![], one("GPU-b")]]);
    assert_eq!(of(&world, &machine)[0].len(), 3);
    assert_eq!(of(&world, &machine)[1], ["GPU-c"]);

    let told = acs::compile(&world.view(), &world.task(&id), Desired::Running).expect("compiled");
    let told = told.associations.into_iter().flatten().map(|one| {
        (one.containers.unwrap_or_default().concat(), one.name.unwrap_or_default(), one.r#type)
    });
    let gpu =
        |container: &str, id: &str| (container.to_owned(), id.to_owned(), Some("gpu".to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), [gpu("c0", "GPU-a"), gpu("c2", "GPU-b")]);

    let full = world.run(|_| {}).expect("answered");
    let failures = full.failures.expect("failures");
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].reason.as_deref(), Some("RESOURCE:GPU"));
    assert_eq!(failures[0].detail.as_deref(), Some("the task needs 2 GPUs, 1 are left"));

    world.stop(&id, None).expect("stopping");
    world.settle(&machine);
    assert_eq!(world.task(&id).phase.as_str(), "STOPPED");
    assert_eq!(of(&world, &machine)[1].len(), 3);
    assert!(world.task(&id).containers.iter().any(|it| !it.gpu_ids.is_empty()), "history stays");
}

#[test]
fn several_tasks_of_one_request_share_none() {
    let (world, machine) = world(&["GPU-a", "GPU-b", "GPU-c"]);
    define(&world, &[1]);
    let response = world.run(|request: &mut RunTaskRequest| request.count = Some(2));
    let mut given = given(response.expect("accepted").tasks).concat().concat();
    given.sort();
    assert_eq!(given, ["GPU-a", "GPU-b"]);
    assert_eq!(of(&world, &machine)[1], ["GPU-c"]);
}

#[test]
fn an_override_replaces_what_the_definition_wants() {
    let (world, machine) = world(&["GPU-a", "GPU-b"]);
    define(&world, &[0]);
    let with = |wanted| {
        let over = ContainerOverride {
            name: Some("c0".to_owned()),
            resource_requirements: Some(wanted),
            ..Default::default()
        };
        Some(TaskOverride { container_overrides: Some(vec![over]), ..Default::default() })
    };
    let request = StartTaskRequest {
        task_definition: Some("web".to_owned()),
        container_instances: Some(vec![machine.arn().to_string()]),
        network_configuration: Some(crate::testing::network(&world.subnets()[..1], &[])),
        overrides: with(vec![gpus(2)]),
        ..Default::default()
    };
    let started = ready(api::start_task(&world.root(), request.clone())).expect("accepted");
    assert_eq!(given(started.tasks).concat().concat(), ["GPU-a", "GPU-b"]);
    let full = ready(api::start_task(&world.root(), request)).expect("accepted");
    let failures = full.failures.expect("failures");
    assert_eq!(failures[0].reason.as_deref(), Some("RESOURCE:GPU"));

    for (kind, value) in [("GPU", "0"), ("GPU", "-1"), ("GPU", "x"), ("InferenceAccelerator", "a")]
    {
        let wanted = ResourceRequirement {
            r#type: Some(kind.to_owned()),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let refused = world.run(|request| request.overrides = with(vec![wanted]));
        assert!(
            (400..500).contains(&refused.expect_err("refused").fault().status),
            "{kind} {value}"
        );
    }
}

/// What it comes back with counts. A task keeps what it was given.
#[test]
fn a_machine_that_comes_back_with_fewer_is_short_of_some() {
    let (world, machine) = world(&["GPU-a", "GPU-b"]);
    define(&world, &[2]);
    let id = world.run_one();
    come_again(&world, &machine, &["GPU-b", "GPU-c"]);
    assert_eq!(of(&world, &machine)[1], ["GPU-c"]);
    define(&world, &[1]);
    let refused = world.run(|_| {}).expect("answered").failures.expect("failures");
    assert_eq!(refused[0].reason.as_deref(), Some("RESOURCE:GPU"));
    world.stop(&id, None).expect("stopping");
    world.settle(&machine);
    let next = world.shown(&world.run_one());
    assert_eq!(given(Some(vec![next])).concat().concat(), ["GPU-b"]);
}
