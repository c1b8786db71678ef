//! What agents report, in whatever order and however often.

use crate::api::*;
use crate::records::{ContainerInstance, Task};
use crate::testing::{World, ready};
use chassis::Principal;
use ident::TaskId;
use sched::lifecycle::Phase;
use wire::ecs::{ContainerStateChange, SubmitTaskStateChangeRequest};

/// A task that its agent was sent, with containers `web` and `side`.
fn delivered() -> (World, ContainerInstance, TaskId) {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|request| {
        let containers = request.container_definitions.as_mut().expect("containers");
        let mut side = containers[0].clone();
        side.name = Some("side".to_owned());
        side.essential = Some(false);
        side.port_mappings = None;
        containers.push(side);
    });
    let id = world.run_one();
    world.settle(&instance);
    assert_eq!(world.task(&id).phase, Phase::Pending);
    (world, instance, id)
}

fn change(name: &str, status: &str) -> ContainerStateChange {
    ContainerStateChange {
        container_name: Some(name.to_owned()),
        status: Some(status.to_owned()),
        ..Default::default()
    }
}

fn report(
    task: &Task,
    status: &str,
    containers: Vec<ContainerStateChange>,
) -> SubmitTaskStateChangeRequest {
    SubmitTaskStateChangeRequest {
        cluster: Some("default".to_owned()),
        task: Some(task.arn().to_string()),
        status: Some(status.to_owned()),
        reason: Some(String::new()),
        containers: Some(containers),
        ..Default::default()
    }
}

#[test]
fn transitions_count_in_order_and_once() {
    let (world, instance, id) = delivered();
    let running = ContainerStateChange {
        runtime_id: Some("r-1".to_owned()),
        exit_code: Some(3),
        ..change("side", "RUNNING")
    };
    let request = report(
        &world.task(&id),
        "RUNNING",
        vec![
            running,
            change("side", "STOPPED"),
            change("web", "RUNNING"),
            change("~internal~ecs~pause", "RUNNING"),
        ],
    );
    world.report(&instance, request.clone()).expect("heard");
    let task = world.task(&id);
    assert_eq!(task.phase, Phase::Running);
    let statuses: Vec<_> = task.containers.iter().map(|c| c.status.as_str()).collect();
    assert_eq!(statuses, ["RUNNING", "STOPPED"]);
    assert_eq!(task.containers[1].exit_code, Some(3));
    assert_eq!(task.containers[1].runtime_id.as_deref(), Some("r-1"));
    let revision = world.view().revision();
    world.report(&instance, request).expect("heard");
    assert_eq!(world.view().revision(), revision, "again is no news");
}

#[test]
fn an_essential_container_takes_its_task_along() {
    let (world, instance, id) = delivered();
    let task = world.task(&id);
    world.report(&instance, report(&task, "RUNNING", vec![])).expect("heard");
    let exit = ContainerStateChange { exit_code: Some(5), ..change("web", "STOPPED") };
    let mut stopped = report(&task, "STOPPED", vec![exit]);
    stopped.execution_stopped_at = Some(wire::Timestamp::from_millis(1_800_000_000_123));
    world.report(&instance, stopped).expect("heard");
    world.settle(&instance);
    let shown = world.shown(&id);
    assert_eq!(shown.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(shown.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(shown.stopped_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!(shown.execution_stopped_at.map(wire::Timestamp::millis), Some(1_800_000_000_123));
    assert_eq!(shown.containers.expect("containers")[0].exit_code, Some(5));
}

#[test]
fn a_task_that_never_ran_says_what_its_container_said() {
    let (world, instance, id) = delivered();
    let pull = "CannotPullContainerError: no such image";
    let failed = ContainerStateChange { reason: Some(pull.to_owned()), ..change("web", "STOPPED") };
    let request = report(&world.task(&id), "STOPPED", vec![failed]);
    world.report(&instance, request).expect("heard");
    let shown = world.shown(&id);
    assert_eq!(shown.last_status.as_deref(), Some("DEPROVISIONING"));
    assert_eq!(shown.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert_eq!(shown.stopped_reason.as_deref(), Some(pull));
    assert_eq!(shown.containers.expect("containers")[0].reason.as_deref(), Some(pull));
    assert!(shown.started_at.is_none());
}

#[test]
fn no_node_says_more_than_others_want_to_hear() {
    let (world, instance, id) = delivered();
    let long = || Some("é".repeat(100_000));
    let change = ContainerStateChange {
        reason: long(),
        runtime_id: long(),
        network_bindings: Some(vec![wire::ecs::NetworkBinding::default(); 1000]),
        ..change("web", "STOPPED")
    };
    let mut request = report(&world.task(&id), "STOPPED", vec![change]);
    request.reason = long();
    world.report(&instance, request).expect("heard");
    let task = world.task(&id);
    let length = |text: Option<&String>| text.map_or(0, |text| text.chars().count());
    let container = &task.containers[0];
    assert_eq!(length(container.reason.as_ref()), 1024);
    assert_eq!(length(container.runtime_id.as_ref()), 255);
    assert_eq!(container.network_bindings.len(), 100);
    assert_eq!(length(task.stop.as_ref().map(|stop| &stop.reason)), 1024);
}

#[test]
fn one_that_ran_too_briefly_to_be_seen_running_did_run() {
    let (world, instance, id) = delivered();
    let exit = ContainerStateChange { exit_code: Some(42), ..change("web", "STOPPED") };
    world.report(&instance, report(&world.task(&id), "STOPPED", vec![exit])).expect("heard");
    let stop = world.task(&id).stop.expect("a reason");
    assert_eq!(stop.code.map(crate::records::StopCode::as_str), Some("EssentialContainerExited"));
}

#[test]
fn late_news_changes_nothing() {
    let (world, instance, id) = delivered();
    let task = world.task(&id);
    world.stop(&id, Some("enough")).expect("stopping");
    world
        .report(&instance, report(&task, "RUNNING", vec![change("web", "RUNNING")]))
        .expect("heard");
    assert_eq!(world.task(&id).phase, Phase::Stopping);
    world
        .report(&instance, report(&task, "STOPPED", vec![change("web", "STOPPED")]))
        .expect("heard");
    world.settle(&instance);
    let stopped = world.task(&id);
    let again = ContainerStateChange { exit_code: Some(1), ..change("web", "RUNNING") };
    world.report(&instance, report(&task, "RUNNING", vec![again])).expect("heard");
    let task = world.task(&id);
    assert_eq!(task, stopped);
    assert_eq!(task.phase, Phase::Stopped);
    assert_eq!(task.containers[0].status.as_str(), "STOPPED");
    assert_eq!(task.stop.expect("a reason").reason, "enough");
}

#[test]
fn before_a_task_runs_containers_are_heard_of() {
    let (world, instance, id) = delivered();
    let digest = ContainerStateChange {
        image_digest: Some("sha256:00".to_owned()),
        ..change("web", "PENDING")
    };
    let mut request = report(&world.task(&id), "PENDING", vec![digest]);
    request.pull_started_at = Some(wire::Timestamp::from_millis(5));
    world.report(&instance, request).expect("heard");
    let task = world.task(&id);
    assert_eq!(task.phase, Phase::Pending);
    assert_eq!(task.containers[0].image_digest.as_deref(), Some("sha256:00"));
    assert!(task.times.pull_started.is_some());
}

#[test]
fn single_containers_and_attachments() {
    let (world, instance, id) = delivered();
    let host = instance.ec2_instance.clone().expect("an EC2 instance");
    let cx = world.cx(Principal::Instance(host));
    let request = wire::ecs::SubmitContainerStateChangeRequest {
        task: Some(id.to_string()),
        container_name: Some("side".to_owned()),
        status: Some("STOPPED".to_owned()),
        exit_code: Some(3),
        ..Default::default()
    };
    ready(submit_container_state_change(&cx, request)).expect("heard");
    let task = world.task(&id);
    assert_eq!((task.containers[1].exit_code, task.phase), (Some(3), Phase::Pending));
    let request = wire::ecs::SubmitAttachmentStateChangesRequest::default();
    submit_attachment_state_changes(&cx, &request).expect("heard");
}

#[test]
fn an_instance_speaks_of_its_own_tasks_only() {
    let (world, _, id) = delivered();
    let other = world.instance(2);
    let refused = world.report(&other, report(&world.task(&id), "STOPPED", vec![]));
    assert_eq!(refused.expect_err("not its").fault().code, "AccessDeniedException");
    let mut unknown = report(&world.task(&id), "STOPPED", vec![]);
    unknown.task = Some("0".repeat(32));
    let refused = world.report(&other, unknown).expect_err("unknown").fault();
    assert_eq!(refused.code, "InvalidParameterException", "which makes agents forget it");
}

#[test]
fn what_is_said_of_an_interface_is_said_of_ones_own() {
    let world = World::new();
    let (instance, other) = (world.instance(1), world.instance(2));
    world.define(|_| {});
    let mine = |id: &TaskId| world.task(id).instance == instance.id;
    let ids: Vec<TaskId> = (0..4).map(|_| world.run_one()).collect();
    let id = ids.iter().find(|id| mine(id)).expect("a task here");
    let elsewhere = ids.iter().find(|id| !mine(id)).expect("a task there");
    let attachment = |id: &TaskId| {
        let interface = world.task(id).interface.expect("an interface");
        crate::names::attachment_arn(&crate::testing::scope(), &interface.attachment).to_string()
    };
    let attached = |arn: &str| {
        Some(vec![wire::ecs::AttachmentStateChange {
            attachment_arn: Some(arn.to_owned()),
            status: Some("ATTACHED".to_owned()),
        }])
    };
    let of_task = |arn: &str| {
        let attachments = attached(arn);
        let task = Some(id.to_string());
        world.report(
            &instance,
            SubmitTaskStateChangeRequest { task, attachments, ..Default::default() },
        )
    };
    let of_machine = |machine: &ContainerInstance, arn: &str| {
        let host = machine.ec2_instance.clone().expect("an EC2 instance");
        let request = wire::ecs::SubmitAttachmentStateChangesRequest {
            attachments: attached(arn),
            ..Default::default()
        };
        submit_attachment_state_changes(&world.cx(Principal::Instance(host)), &request).map(drop)
    };
    let before = world.view().revision();
    of_task(&attachment(id)).expect("its own");
    of_machine(&instance, &attachment(id)).expect("its task's");
    of_machine(&other, &attachment(elsewhere)).expect("its task's");
    assert_eq!(world.view().revision(), before, "the card says how interfaces fare");
    for refused in [
        of_task(&attachment(elsewhere)),
        of_task(""),
        of_machine(&instance, &attachment(elsewhere)),
        of_machine(&instance, "arn:aws:ecs:us-east-1:000000000000:attachment/x"),
    ] {
        assert_eq!(refused.expect_err("not its").fault().code, "InvalidParameterException");
    }
}

#[test]
fn no_task_has_a_managed_agent() {
    let (world, instance, id) = delivered();
    let mut request = report(&world.task(&id), "RUNNING", vec![]);
    request.managed_agents = Some(vec![]);
    world.report(&instance, request.clone()).expect("heard");
    request.managed_agents = Some(vec![wire::ecs::ManagedAgentStateChange {
        managed_agent_name: Some("ExecuteCommandAgent".to_owned()),
        container_name: Some("web".to_owned()),
        status: Some("RUNNING".to_owned()),
        reason: None,
    }]);
    let fault = world.report(&instance, request).expect_err("none").fault();
    assert_eq!(fault.code, "InvalidParameterException");
    assert!(fault.message.contains("'ExecuteCommandAgent'"), "{fault}");
}
