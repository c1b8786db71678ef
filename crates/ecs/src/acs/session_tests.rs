//! What is said to an agent, and when.

use super::*;
use crate::testing::{Agent, World, scope};
use ident::{TaskId, Timestamp};
use wire::acs::{HeartbeatAckRequest, TaskStopVerificationMessage};

fn kinds(frames: &[Message]) -> Vec<&str> {
    frames.iter().map(Message::kind).collect()
}

fn payloads(frames: &[Message]) -> impl Iterator<Item = &PayloadMessage> {
    frames.iter().filter_map(|frame| {
        if let Message::PayloadMessage(payload) = frame { Some(payload) } else { None }
    })
}

fn payload(frames: &[Message]) -> &PayloadMessage {
    payloads(frames).next().expect("a payload")
}

fn pending(world: &World, instance: &ContainerInstance) -> TaskId {
    world.define(|_| {});
    let id = world.run_one();
    world.settle(instance);
    assert_eq!(world.task(&id).phase, Phase::Pending);
    id
}

#[test]
fn it_begins_with_the_manifest_and_says_nothing_twice() {
    let world = World::new();
    let instance = world.instance(1);
    let mut agent = world.agent(&instance, "s-1");
    assert_eq!(kinds(&agent.poll()), ["TaskManifestMessage"]);
    assert!(agent.poll().is_empty());

    let id = pending(&world, &instance);
    let frames = agent.poll();
    assert_eq!(kinds(&frames), ["PayloadMessage"]);
    let tasks = payload(&frames).tasks.as_ref().expect("tasks");
    assert_eq!(tasks[0].arn, Some(world.task(&id).arn().to_string()));
    assert_eq!(tasks[0].desired_status.as_deref(), Some("RUNNING"));
    assert!(agent.poll().is_empty());
}

#[test]
fn a_task_is_not_sent_before_its_interface_is_there() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    world.run_one();
    let mut agent = world.agent(&instance, "s-1");
    assert_eq!(kinds(&agent.poll()), ["TaskManifestMessage"]);
    world.settle(&instance);
    assert_eq!(kinds(&agent.poll()), ["PayloadMessage"]);
}

#[test]
fn a_new_session_says_everything_again() {
    let world = World::new();
    let instance = world.instance(1);
    let id = pending(&world, &instance);
    let first = world.agent(&instance, "s-1").poll();
    let again = world.agent(&instance, "s-2").poll();
    assert_eq!(kinds(&first), ["TaskManifestMessage", "PayloadMessage"]);
    assert_eq!(kinds(&again), ["TaskManifestMessage", "PayloadMessage"]);
    let (old, new) = (payload(&first), payload(&again));
    assert_eq!(old.tasks, new.tasks);
    assert!(old.seq_num < new.seq_num, "connecting is news, so the numbers rise");
    assert_ne!(old.message_id, new.message_id);
    // What the agent has said to run is not sent any more.
    world.report_status(&instance, &world.task(&id).arn().to_string(), "RUNNING", None);
    assert_eq!(kinds(&world.agent(&instance, "s-3").poll()), ["TaskManifestMessage"]);
}

#[test]
fn a_task_that_is_to_stop_is_told_so_once_per_session() {
    let world = World::new();
    let instance = world.instance(1);
    let id = pending(&world, &instance);
    let mut agent = world.agent(&instance, "s-1");
    agent.obey();
    world.stop(&id, None).expect("stopping");
    let frames = agent.poll();
    let tasks = payload(&frames).tasks.as_ref().expect("tasks");
    assert_eq!(tasks[0].desired_status.as_deref(), Some("STOPPED"));
    assert!(agent.poll().is_empty());
    let frames = world.agent(&instance, "s-2").poll();
    assert_eq!(kinds(&frames), ["TaskManifestMessage", "PayloadMessage"]);
    // An agent that never heard of the task hears enough of it to say it is stopped.
    assert!(payload(&frames).tasks.as_ref().expect("tasks")[0].containers.is_some());
}

#[test]
fn stops_go_before_runs() {
    let world = World::new();
    let instance = world.instance(1);
    let first = pending(&world, &instance);
    let mut agent = world.agent(&instance, "s-1");
    agent.obey();
    world.stop(&first, None).expect("stopping");
    world.run_one();
    world.settle(&instance);
    let frames = agent.poll();
    let wishes: Vec<_> = payload(&frames)
        .tasks
        .iter()
        .flatten()
        .map(|task| task.desired_status.clone().expect("a wish"))
        .collect();
    assert_eq!(wishes, ["STOPPED", "RUNNING"]);
}

#[test]
fn the_manifest_names_what_should_be_there() {
    let world = World::new();
    let instance = world.instance(1);
    let run = pending(&world, &instance);
    let stop = world.run_one();
    world.settle(&instance);
    world.stop(&stop, None).expect("stopping");
    let frames = world.agent(&instance, "s-1").poll();
    let Some(Message::TaskManifestMessage(manifest)) = frames.first() else {
        panic!("no manifest: {frames:?}");
    };
    let mut named: Vec<_> = manifest
        .tasks
        .iter()
        .flatten()
        .map(|task| (task.task_arn.clone().expect("ARN"), task.desired_status.clone()))
        .collect();
    named.sort();
    let mut wanted = [(run, "RUNNING"), (stop, "STOPPED")]
        .map(|(id, wish)| (world.task(&id).arn().to_string(), Some(wish.to_owned())));
    wanted.sort();
    assert_eq!(named, wanted);
    assert!(manifest.timeline > Some(0));
}

#[test]
fn of_what_the_agent_asks_about_only_ours_is_stopped() {
    let world = World::new();
    let instance = world.instance(1);
    let other = world.instance(2);
    let wanted = pending(&world, &instance);
    let wanted_arn = world.task(&wanted).arn().to_string();
    let host = world.task(&wanted).instance;
    let instance = if host == instance.id { instance } else { other };
    let gone =
        crate::task_arn(&scope(), &instance.cluster, &TaskId::mint(Timestamp(0), 99)).to_string();
    let elsewhere = gone.replace("/default/", "/elsewhere/");
    let ask = |agent: &mut Agent<'_>| {
        let candidate = |arn: &str| TaskIdentifier {
            task_arn: Some(arn.to_owned()),
            desired_status: Some("STOPPED".to_owned()),
            task_cluster_arn: None,
        };
        let internal = "arn:::::/ebs-csi-driver-0123";
        let asked = [&*wanted_arn, &*gone, &*elsewhere, internal].map(candidate);
        agent.says(TaskStopVerificationMessage {
            message_id: Some("m-1".to_owned()),
            stop_candidates: Some(asked.to_vec()),
        });
        agent.poll()
    };
    let mut agent = world.agent(&instance, "s-1");
    agent.poll();
    let frames = ask(&mut agent);
    let Some(Message::TaskStopVerificationAck(ack)) = frames.first() else {
        panic!("no answer: {frames:?}");
    };
    assert_eq!(ack.message_id.as_deref(), Some("m-1"));
    let stops: Vec<_> = ack.stop_tasks.iter().flatten().map(|t| t.task_arn.clone()).collect();
    assert_eq!(stops, [Some(gone)]);
}

#[test]
fn hearts_beat_and_silence_is_noticed() {
    let world = World::new();
    let instance = world.instance(1);
    let mut agent = world.agent(&instance, "s-1");
    agent.poll();
    let mut beats = 0;
    for _ in 0..6 {
        world.clock.advance(HEARTBEAT);
        let frames = agent.poll();
        assert_eq!(kinds(&frames), ["HeartbeatMessage"]);
        beats += 1;
        if beats <= 2 {
            agent.says(HeartbeatAckRequest { message_id: Some("m".to_owned()) });
        }
        let silent = agent.session().is_silent(world.platform.now());
        assert_eq!(silent, beats >= 6, "beat {beats}");
        assert!(agent.session().wake_at() > world.platform.now() || silent);
    }
}

#[test]
fn many_tasks_are_many_frames() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    for _ in 0..2 {
        world.run(|request| request.count = Some(8)).expect("accepted");
    }
    world.settle(&instance);
    let frames = world.agent(&instance, "s-1").poll();
    let sizes: Vec<_> =
        payloads(&frames).filter_map(|payload| payload.tasks.as_ref().map(Vec::len)).collect();
    assert_eq!(sizes, [10, 6]);
}
