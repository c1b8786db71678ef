//! Tasks move on by what EC2 says, and end however they end.

use super::*;
use crate::records::{ContainerStatus, Health};
use crate::testing::{World, network, registration, scope};
use crate::{acs, api};
use chassis::Principal;
use sched::resources::{Need, Room};

fn room(view: &View, instance: &ContainerInstance) -> Room {
    crate::fleets::candidate(view, instance).room.clone()
}

fn phase(world: &World, id: &TaskId) -> &'static str {
    world.task(id).phase.as_str()
}

#[test]
fn a_task_runs_stops_and_leaves_nothing() {
    let world = World::new();
    let instance = world.instance(1);
    let before = room(&world.view(), &instance);
    world.define(|_| {});
    let id = world.run_one();
    assert_eq!(phase(&world, &id), "PROVISIONING");
    world.reconcile();
    assert_eq!(phase(&world, &id), "PROVISIONING", "the card has said nothing");

    world.card(&instance, &[]);
    world.reconcile();
    assert_eq!(phase(&world, &id), "PENDING");

    let mut agent = world.agent(&instance, "s-1");
    agent.obey();
    let shown = world.shown(&id);
    assert_eq!(shown.last_status.as_deref(), Some("RUNNING"));
    assert_eq!(shown.desired_status.as_deref(), Some("RUNNING"));
    assert!(shown.started_at.is_some() && shown.stopping_at.is_none());
    let container = &shown.containers.as_ref().expect("containers")[0];
    assert_eq!(container.last_status.as_deref(), Some("RUNNING"));
    assert_eq!(container.runtime_id.as_deref(), Some("0badc0de"));
    let attachment = &shown.attachments.as_ref().expect("attachments")[0];
    assert_eq!(attachment.status.as_deref(), Some("ATTACHED"));

    world.stop(&id, Some("seen enough")).expect("stopping");
    assert_eq!(phase(&world, &id), "STOPPING");
    agent.obey();
    assert_eq!(phase(&world, &id), "DEPROVISIONING");
    assert_ne!(room(&world.view(), &instance), before, "not until it is STOPPED");
    world.reconcile();
    assert_eq!(world.task_enis().len(), 1, "the card has it still");
    world.card(&instance, &[]);
    world.reconcile();

    let shown = world.shown(&id);
    assert_eq!(shown.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(shown.stop_code.as_deref(), Some("UserInitiated"));
    assert_eq!(shown.stopped_reason.as_deref(), Some("seen enough"));
    assert!(shown.stopping_at.is_some() && shown.stopped_at.is_some());
    assert_eq!(shown.containers.expect("containers")[0].exit_code, Some(143));
    let attachment = &shown.attachments.expect("attachments")[0];
    assert_eq!(attachment.status.as_deref(), Some("DELETED"));
    assert!(world.task_enis().is_empty());
    assert_eq!(room(&world.view(), &instance), before);
}

#[test]
fn an_interface_that_cannot_be_made_ends_the_task() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    let eni = world.task(&id).interface.expect("an interface").eni;
    world.card(&instance, &[eni.as_str()]);
    world.settle(&instance);
    let task = world.task(&id);
    assert_eq!(task.phase, Phase::Stopped);
    let stop = task.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TaskFailedToStart));
    assert!(stop.reason.contains("no such device"), "{}", stop.reason);
    assert!(world.task_enis().is_empty());
    assert_eq!(task.containers[0].status, ContainerStatus::Stopped);
}

#[test]
fn a_card_that_says_nothing_is_waited_for_and_then_not() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    world.clock.advance(PROVISIONING_TIMEOUT.saturating_sub(Duration::from_millis(1)));
    world.reconcile();
    assert_eq!(phase(&world, &id), "PROVISIONING");
    world.clock.advance(Duration::from_millis(1));
    world.settle(&instance);
    let stop = world.task(&id).stop.expect("a reason");
    assert!(stop.reason.starts_with("Timeout waiting for network interface"), "{}", stop.reason);
    assert_eq!(phase(&world, &id), "STOPPED");
}

#[test]
fn stopping_before_there_is_anything_to_stop_goes_straight() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    let shown = world.stop(&id, None).expect("stopping").task.expect("shown");
    assert_eq!(shown.last_status.as_deref(), Some("DEPROVISIONING"));
    assert_eq!(shown.stopped_reason.as_deref(), Some("Task stopped by user"));
    world.settle(&instance);
    assert_eq!(phase(&world, &id), "STOPPED");
}

#[test]
fn tasks_end_with_the_instance_that_forgot_who_it_was() {
    let world = World::new();
    let old = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    world.settle(&old);
    let mut agent = world.agent(&old, "s-1");
    agent.obey();
    assert_eq!(phase(&world, &id), "RUNNING");

    // The same machine comes as somebody new.
    let new = world.instance(1);
    assert_ne!(old.id, new.id);
    assert_eq!(world.instance_record(&old.id).status, InstanceStatus::Inactive);
    world.settle(&new);
    let task = world.task(&id);
    assert_eq!(task.phase, Phase::Stopped);
    let stop = task.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TerminationNotice));
    let host = old.ec2_instance.expect("an EC2 instance");
    assert_eq!(stop.reason, format!("Host EC2 (instance {host}) terminated."));
    assert!(world.task_enis().is_empty());
}

#[test]
fn a_round_without_news_writes_nothing() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    world.settle(&instance);
    assert_eq!(phase(&world, &id), "PENDING");
    let revision = world.view().revision();
    world.reconcile();
    assert_eq!(world.view().revision(), revision);
}

#[test]
fn more_tasks_than_a_commit_holds() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|request| {
        let container = &mut request.container_definitions.as_mut().expect("containers")[0];
        (container.cpu, container.memory) = (Some(0), Some(8));
    });
    let subnets = world.subnets();
    for _ in 0..8 {
        let run = world.run(|request| {
            request.count = Some(10);
            request.network_configuration = Some(network(&subnets, &[]));
        });
        assert_eq!(run.expect("accepted").failures, Some(vec![]));
    }
    world.card(&instance, &[]);
    world.reconcile();
    let pending = world.view().by_any_scope::<Task>(BY_PHASE, "PENDING").count();
    assert_eq!(pending, 80);
}

#[test]
fn a_task_without_interface_skips_what_it_does_not_need() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|request| request.network_mode = Some("host".to_owned()));
    let run = world.run(|request| request.network_configuration = None).expect("accepted");
    let task = run.tasks.expect("tasks").pop().expect("a task");
    let id = crate::testing::task_id(&task);
    assert_eq!(task.last_status.as_deref(), Some("PENDING"));
    let wanted = Need {
        cpu_units: 128,
        memory_mib: 64,
        enis: 0,
        gpus: 0,
        ports: sched::resources::Ports([(sched::resources::Protocol::Tcp, 80)].into()),
    };
    assert_eq!(world.task(&id).need, wanted);
    let mut agent = world.agent(&instance, "s-1");
    agent.obey();
    world.stop(&id, None).expect("stopping");
    agent.obey();
    assert_eq!(phase(&world, &id), "STOPPED");
}

#[test]
fn health_is_unknown_until_somebody_checks() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    assert_eq!(world.task(&id).health(), Health::Unknown);
}

#[test]
fn an_agent_that_knows_its_arn_stays_who_it_is() {
    let world = World::new();
    let instance = world.instance(1);
    let mut request = registration();
    request.container_instance_arn = Some(instance.arn().to_string());
    let host = instance.ec2_instance.clone().expect("an EC2 instance");
    let cx = world.cx(Principal::Instance(host));
    let shown = crate::testing::ready(api::register_container_instance(&cx, request));
    let shown = shown.expect("registered").container_instance.expect("shown");
    assert_eq!(shown.container_instance_arn, Some(instance.arn().to_string()));
    let sent = registration().attributes.expect("attributes");
    let echoed = shown.attributes.expect("attributes");
    for attribute in sent {
        assert!(echoed.contains(&attribute), "{attribute:?}");
    }
    for derived in ["ecs.availability-zone", "ecs.vpc-id", "ecs.subnet-id"] {
        assert!(echoed.iter().any(|a| a.name.as_deref() == Some(derived)), "{derived}");
    }
    crate::testing::ready(acs::disconnect(&world.platform, &scope(), &instance.id, "s-0"))
        .expect("noted");
    assert!(!world.instance_record(&instance.id).connected());
}
