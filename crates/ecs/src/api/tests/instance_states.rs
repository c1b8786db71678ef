//! Draining and deregistering container instances, and tasks that are put where
//! somebody says.

use crate::api::*;
use crate::controllers::Settings;
use crate::controllers::reaper::Reaper;
use crate::records::ContainerInstance;
use crate::testing::{World, network, ready, task_id};
use chassis::{Controller as _, Principal};
use ident::InstanceId;
use wire::ecs;

fn set(
    world: &World,
    status: &str,
    ids: &[&str],
) -> Result<ecs::UpdateContainerInstancesStateResponse, crate::Error> {
    let request = ecs::UpdateContainerInstancesStateRequest {
        container_instances: Some(ids.iter().map(ToString::to_string).collect()),
        status: Some(status.to_owned()),
        ..Default::default()
    };
    ready(update_container_instances_state(&world.root(), request))
}

fn deregister(
    world: &World,
    instance: &ContainerInstance,
    force: bool,
) -> Result<ecs::ContainerInstance, crate::Error> {
    let request = ecs::DeregisterContainerInstanceRequest {
        container_instance: Some(instance.arn().to_string()),
        force: Some(force),
        ..Default::default()
    };
    let response = ready(deregister_container_instance(&world.root(), request))?;
    Ok(response.container_instance.expect("shown"))
}

fn start_on(world: &World, ids: &[&str]) -> Result<ecs::StartTaskResponse, crate::Error> {
    let request = ecs::StartTaskRequest {
        task_definition: Some("web".to_owned()),
        container_instances: Some(ids.iter().map(ToString::to_string).collect()),
        network_configuration: Some(network(&world.subnets()[..1], &[])),
        started_by: Some("me".to_owned()),
        ..Default::default()
    };
    ready(start_task(&world.root(), request))
}

fn reasons(failures: Option<Vec<ecs::Failure>>) -> Vec<String> {
    failures.into_iter().flatten().filter_map(|failure| failure.reason).collect()
}

const NOBODY: &str = "00000000000000000000000000000009";

#[test]
fn who_drains_keeps_its_tasks_and_takes_no_more() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let task = world.run_one();
    world.settle(&instance);

    let drained = set(&world, "DRAINING", &[instance.id.as_str(), NOBODY]).expect("drained");
    assert_eq!(reasons(drained.failures), ["MISSING"]);
    let shown = drained.container_instances.expect("shown");
    assert_eq!(shown[0].status.as_deref(), Some("DRAINING"));
    world.settle(&instance);
    assert_eq!(world.shown(&task).desired_status.as_deref(), Some("RUNNING"));
    let refused = world.run(|_| {}).expect("answered");
    assert_eq!(reasons(refused.failures), ["INACTIVE"]);

    let list = |status: &str| {
        let request = ecs::ListContainerInstancesRequest {
            status: Some(status.to_owned()),
            ..Default::default()
        };
        let listed = list_container_instances(&world.root(), request).expect("listed");
        listed.container_instance_arns.expect("ARNs").len()
    };
    assert_eq!((list("ACTIVE"), list("DRAINING")), (0, 1));
    set(&world, "ACTIVE", &[instance.id.as_str()]).expect("active again");
    world.run_one();
}

#[test]
fn a_state_is_one_of_two_and_for_ten_at_most() {
    let world = World::new();
    let instance = world.instance(1);
    for (status, ids) in [
        ("INACTIVE", vec![instance.id.as_str()]),
        ("DRAINING", vec![]),
        ("ACTIVE", vec![NOBODY; 11]),
    ] {
        let refused = set(&world, status, &ids).expect_err(status).fault();
        assert_eq!(refused.code, "InvalidParameterException", "{status}");
    }
}

#[test]
fn nobody_drains_another_machine() {
    let world = World::new();
    let instance = world.instance(1);
    let request = |id: u128| {
        let request = ecs::UpdateContainerInstancesStateRequest {
            container_instances: Some(vec![instance.id.to_string()]),
            status: Some("DRAINING".to_owned()),
            ..Default::default()
        };
        let cx = world.cx(Principal::Instance(InstanceId::mint(id)));
        ready(update_container_instances_state(&cx, request))
    };
    assert_eq!(request(2).expect_err("another").fault().code, "AccessDeniedException");
    request(1).expect("itself, as when its spot ends");
}

#[test]
fn leaving_with_tasks_has_to_be_meant() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let task = world.run_one();
    world.settle(&instance);

    let refused = deregister(&world, &instance, false).expect_err("has a task").fault();
    assert_eq!(refused.code, "InvalidParameterException");
    assert_eq!(refused.message, "Found running tasks on the instance.");

    let shown = deregister(&world, &instance, true).expect("deregistered");
    assert_eq!(shown.status.as_deref(), Some("INACTIVE"));
    assert_eq!(shown.agent_connected, Some(false));
    world.settle(&instance);
    let stopped = world.shown(&task);
    assert_eq!(stopped.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(
        stopped.stopped_reason.as_deref(),
        Some("Container instance deregistration forced by user")
    );
    assert!(world.task_enis().is_empty(), "its interface is given back");
    let again = deregister(&world, &instance, true).expect_err("gone").fault();
    assert_eq!(again.message, "The referenced container instance was not found.");
    let late = set(&world, "ACTIVE", &[instance.id.as_str()]).expect("answered");
    assert_eq!(reasons(late.failures), ["INACTIVE"]);
}

#[test]
fn who_left_is_shown_for_a_while() {
    let world = World::new();
    let instance = world.instance(1);
    deregister(&world, &instance, false).expect("nothing runs there");
    let kept = Settings::default().retention;
    let reaper = Reaper::new(kept);
    let there = || {
        ready(reaper.reconcile(&world.platform)).expect("reconciles");
        let found = world.view().get::<ContainerInstance>(&instance.scope, instance.id.as_str());
        found.is_some()
    };
    assert!(there());
    world.clock.advance(kept);
    assert!(!there());
}

#[test]
fn a_session_ends_with_its_instance() {
    let world = World::new();
    let instance = world.instance(1);
    let agent = world.agent(&instance, "s-1");
    assert!(!agent.session().is_over(&world.view()));
    deregister(&world, &instance, true).expect("deregistered");
    assert!(agent.session().is_over(&world.view()));
}

#[test]
fn each_task_starts_where_it_is_put() {
    let world = World::new();
    let (one, other) = (world.instance(1), world.instance(2));
    world.define(|_| {});
    let started = start_on(&world, &[one.id.as_str(), other.id.as_str(), NOBODY]).expect("started");
    assert_eq!(reasons(started.failures), ["MISSING"]);
    let tasks = started.tasks.expect("tasks");
    let places: Vec<_> = tasks.iter().map(|task| world.task(&task_id(task)).instance).collect();
    assert_eq!(places, [one.id.clone(), other.id]);
    assert_eq!(tasks[0].started_by.as_deref(), Some("me"));
    assert_eq!(tasks[0].last_status.as_deref(), Some("PROVISIONING"));

    set(&world, "DRAINING", &[one.id.as_str()]).expect("draining");
    let refused = start_on(&world, &[one.id.as_str()]).expect("answered");
    assert_eq!(reasons(refused.failures), ["INACTIVE"]);
}

#[test]
fn tasks_of_one_request_see_each_other() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|definition| {
        definition.container_definitions.as_mut().expect("containers")[0].cpu = Some(1500);
    });
    let id = instance.id.as_str();
    let started = start_on(&world, &[id, id]).expect("answered");
    assert_eq!(started.tasks.expect("tasks").len(), 1);
    assert_eq!(reasons(started.failures), ["RESOURCE:CPU"]);
}

#[test]
fn a_place_is_named_for_one_to_ten_tasks() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    for ids in [vec![], vec![NOBODY; 11]] {
        let refused = start_on(&world, &ids).expect_err("refused").fault();
        assert_eq!(refused.code, "InvalidParameterException");
    }
}

#[test]
fn who_names_the_instance_is_bound_by_no_constraint() {
    let world = World::new();
    let (here, gone) = (world.instance(1), world.instance(2));
    deregister(&world, &gone, false).expect("deregistered");
    world.define(|request| {
        request.placement_constraints = Some(vec![ecs::TaskDefinitionPlacementConstraint {
            r#type: Some("memberOf".to_owned()),
            expression: Some("attribute:rack == nowhere".to_owned()),
        }]);
    });
    let refused = world.run(|_| {}).expect("answered");
    assert_eq!(reasons(refused.failures), ["MemberOf placement constraint unsatisfied."]);
    let ids = [gone.id.as_str(), here.id.as_str(), NOBODY];
    let started = start_on(&world, &ids).expect("answered");
    assert_eq!(started.tasks.map(|tasks| tasks.len()), Some(1));
    assert_eq!(reasons(started.failures), ["INACTIVE", "MISSING"]);
}
