//! What becomes of the tasks of an agent that is away.

use super::*;
use crate::testing::{AGENT_GRACE, World};
use ec2::records::{AttachmentStatus, Eni};
use wire::acs::{Message, TaskIdentifier, TaskStopVerificationMessage};

const MOMENT: Duration = Duration::from_millis(1);

/// An instance with a task that runs on it, and its agent away.
fn away(world: &World) -> (ContainerInstance, TaskId) {
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    world.settle(&instance);
    world.agent(&instance, "s-1").obey();
    assert_eq!(world.task(&id).phase, Phase::Running);
    world.disconnect(&instance, "s-1");
    (instance, id)
}

/// The tasks that a manifest names, with what is wanted of them.
fn named(frames: &[Message]) -> Vec<(Option<String>, Option<String>)> {
    let Some(Message::TaskManifestMessage(manifest)) = frames.first() else {
        panic!("no manifest: {frames:?}");
    };
    let tasks = manifest.tasks.iter().flatten();
    tasks.map(|it| (it.task_arn.clone(), it.desired_status.clone())).collect()
}

#[test]
fn who_comes_back_in_time_goes_on() {
    let world = World::new();
    let (instance, id) = away(&world);
    let before = world.task(&id);
    assert_eq!(world.shown(&id).connectivity.as_deref(), Some("DISCONNECTED"), "at once");
    world.pass(AGENT_GRACE.saturating_sub(MOMENT));
    assert_eq!(world.task(&id), before);

    let mut agent = world.agent(&instance, "s-2");
    let frames = agent.poll();
    let wanted = (Some(before.arn().to_string()), Some("RUNNING".to_owned()));
    assert_eq!(named(&frames), [wanted]);
    assert_eq!(frames.len(), 1, "the agent has the task and is not told again: {frames:?}");
    world.pass(AGENT_GRACE.saturating_mul(2));
    assert_eq!(world.task(&id), before);

    // Another absence has a grace of its own.
    world.disconnect(&instance, "s-2");
    world.pass(AGENT_GRACE.saturating_sub(MOMENT));
    assert_eq!(world.task(&id), before);
}

#[test]
fn who_stays_away_has_lost_its_tasks_and_is_told_so() {
    let world = World::new();
    let (instance, id) = away(&world);
    world.pass(AGENT_GRACE);
    assert_eq!(world.task(&id).phase, Phase::Deprovisioning);
    world.settle(&instance);
    let shown = world.shown(&id);
    assert_eq!(shown.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(shown.stop_code.as_deref(), Some("TerminationNotice"));
    let host = instance.ec2_instance.as_ref().expect("an EC2 instance");
    let reason = format!(
        "Host EC2 (instance {host}) terminated. Its agent was disconnected for 180 seconds."
    );
    assert_eq!(shown.stopped_reason, Some(reason));
    assert!(world.task_enis().is_empty());

    // It comes back after all, with the task that it never ceased to run.
    let arn = world.task(&id).arn().to_string();
    let mut agent = world.agent(&instance, "s-2");
    assert_eq!(named(&agent.poll()), []);
    let candidate = TaskIdentifier {
        task_arn: Some(arn.clone()),
        desired_status: Some("STOPPED".to_owned()),
        task_cluster_arn: None,
    };
    agent.says(TaskStopVerificationMessage {
        message_id: Some("m-1".to_owned()),
        stop_candidates: Some(vec![candidate.clone()]),
    });
    let frames = agent.poll();
    let [Message::TaskStopVerificationAck(ack)] = &frames[..] else {
        panic!("no answer: {frames:?}");
    };
    assert_eq!(ack.stop_tasks, Some(vec![candidate]));
    let before = world.task(&id);
    world.report_status(&instance, &arn, "STOPPED", Some(143));
    assert_eq!(world.task(&id), before, "how it ended was said");
}

#[test]
fn the_address_of_a_lost_task_waits_for_the_card() {
    let world = World::new();
    let (instance, id) = away(&world);
    world.pass(AGENT_GRACE);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.task(&id).phase, Phase::Stopped, "nobody waits for the card");
    let leaving = |eni: &Eni| eni.attachment_status() == Some(AttachmentStatus::Detaching);
    let left = world.task_enis();
    assert!(matches!(&left[..], [eni] if leaving(eni)), "{left:?}");
    world.card(&instance, &[]);
    assert!(world.task_enis().is_empty());
}

#[test]
fn the_first_reason_to_stop_stays() {
    let world = World::new();
    let (_, id) = away(&world);
    world.stop(&id, Some("seen enough")).expect("stopping");
    world.pass(AGENT_GRACE.saturating_sub(MOMENT));
    assert_eq!(world.task(&id).phase, Phase::Stopping);
    world.pass(AGENT_GRACE);
    let task = world.task(&id);
    assert_eq!(task.phase, Phase::Stopped);
    let stop = task.stop.expect("a reason");
    assert_eq!((stop.code, &*stop.reason), (Some(StopCode::UserInitiated), "seen enough"));
}

/// The agent could not reach us while we were not there.
fn after_an_outage(outage: impl FnOnce(&mut World)) {
    let mut world = World::new();
    let (_, id) = away(&world);
    world.pass(AGENT_GRACE.saturating_sub(MOMENT));
    outage(&mut world);
    world.reconcile();
    assert_eq!(world.task(&id).phase, Phase::Running, "back");
    world.pass(AGENT_GRACE.saturating_sub(MOMENT));
    assert_eq!(world.task(&id).phase, Phase::Running, "for the whole grace");
    world.pass(MOMENT);
    assert_eq!(world.task(&id).phase, Phase::Deprovisioning);
}

#[test]
fn an_outage_of_the_control_plane_is_nobodys_absence() {
    after_an_outage(|world| {
        world.restart();
        world.clock.advance(Duration::from_hours(1));
    });
    after_an_outage(|world| {
        world.restart();
        world.clock.advance(MOMENT);
    });
}

#[test]
fn nor_is_the_sleep_of_its_machine() {
    after_an_outage(|world| world.clock.advance(Duration::from_hours(1)));
}
