//! What becomes of the credentials of tasks.

use super::*;
use crate::records::ContainerInstance;
use crate::testing::{World, ready};
use ident::TaskId;
use wire::acs::{self, Message};

struct Acting {
    world: World,
    instance: ContainerInstance,
    task: TaskId,
    controller: Credentials,
}

impl Acting {
    /// A task with a role, sent to its agent.
    fn new() -> Self {
        let world = World::new();
        let instance = world.instance(1);
        let role = world.role("lister");
        world.define(|request| request.task_role_arn = Some(role));
        let task = world.run_one();
        world.settle(&instance);
        Self { world, instance, task, controller: Credentials::default() }
    }

    fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
        ready(self.controller.reconcile(&self.world.platform)).expect("reconciles");
    }

    fn key(&self) -> Option<String> {
        self.world.task(&self.task).role.expect("a role").key
    }

    /// Until when the credentials with this key are good.
    fn ends(&self, key: &str) -> Option<Timestamp> {
        task_roles::find(&self.world.view(), key).map(|session| session.expires)
    }
}

/// The credentials that an agent is told, by payloads and by themselves.
fn told(frames: &[Message]) -> (Vec<acs::IAMRoleCredentials>, Vec<acs::IAMRoleCredentials>) {
    let (mut with_task, mut alone) = (vec![], vec![]);
    for frame in frames {
        if let Message::PayloadMessage(payload) = frame {
            let tasks = payload.tasks.iter().flatten();
            with_task.extend(tasks.filter_map(|task| task.role_credentials.clone()));
        }
        if let Message::IAMRoleCredentialsMessage(message) = frame {
            alone.extend(message.role_credentials.clone());
        }
    }
    (with_task, alone)
}

#[test]
fn a_task_comes_with_its_credentials() {
    let acting = Acting::new();
    let mut agent = acting.world.agent(&acting.instance, "s-1");
    let (with_task, alone) = told(&agent.poll());
    assert_eq!((with_task.len(), alone.len()), (1, 0));
    let key = acting.key().expect("credentials");
    assert_eq!(with_task[0].access_key_id.as_ref(), Some(&key));
    assert!(with_task[0].session_token.is_some() && with_task[0].expiration.is_some());
    assert_eq!(told(&agent.poll()), (vec![], vec![]), "once is enough");

    // A new process of the agent, which has lost them, is told again.
    let arn = acting.world.task(&acting.task).arn().to_string();
    acting.world.report_status(&acting.instance, &arn, "RUNNING", None);
    let (with_task, alone) = told(&acting.world.agent(&acting.instance, "s-2").poll());
    assert_eq!((with_task.len(), alone.len()), (0, 1));
    assert_eq!(alone[0].access_key_id.as_ref(), Some(&key));
}

#[test]
fn an_agent_has_those_of_the_execution_role_beside() {
    let world = World::new();
    let instance = world.instance(1);
    let (own, execution) = (world.role("own"), world.role("execution"));
    world.define(|request| {
        request.task_role_arn = Some(own.clone());
        request.execution_role_arn = Some(execution.clone());
    });
    let task = world.run_one();
    world.settle(&instance);
    let mut agent = world.agent(&instance, "s-1");
    let frames = agent.poll();
    let payload = frames.iter().find_map(|frame| {
        let Message::PayloadMessage(payload) = frame else { return None };
        payload.tasks.as_ref()?.first()
    });
    let payload = payload.expect("the task");
    let role =
        |given: &Option<acs::IAMRoleCredentials>| given.as_ref().and_then(|it| it.role_arn.clone());
    assert_eq!(role(&payload.role_credentials), Some(own.clone()));
    assert_eq!(role(&payload.execution_role_credentials), Some(execution.clone()));
    assert_eq!(told(&agent.poll()).1, vec![], "once is enough");

    // Each is replaced, and says which it is.
    let controller = Credentials::default();
    world.clock.advance(Duration::from_hours(5));
    ready(controller.reconcile(&world.platform)).expect("reconciles");
    let purposes = agent.poll().into_iter().filter_map(|frame| {
        let Message::IAMRoleCredentialsMessage(message) = frame else { return None };
        Some((message.role_type, message.role_credentials?.role_arn))
    });
    let named = |purpose: &str, arn: String| (Some(purpose.to_owned()), Some(arn));
    let expected = [named("TaskApplication", own), named("TaskExecution", execution)];
    assert_eq!(purposes.collect::<Vec<_>>(), expected);

    // None outlives the task.
    let keys: Vec<_> = world.task(&task).roles().filter_map(|(_, role)| role.key.clone()).collect();
    assert_eq!(keys.len(), 2);
    world.report_status(&instance, &world.task(&task).arn().to_string(), "STOPPED", None);
    world.settle(&instance);
    world.clock.advance(Duration::from_mins(2));
    ready(controller.reconcile(&world.platform)).expect("reconciles");
    assert!(world.task(&task).roles().all(|(_, role)| role.key.is_none()));
    assert!(keys.iter().all(|key| task_roles::find(&world.view(), key).is_none()));
}

#[test]
fn credentials_are_replaced_before_they_end() {
    let acting = Acting::new();
    let mut agent = acting.world.agent(&acting.instance, "s-1");
    let (first, _) = told(&agent.poll());
    let old = acting.key().expect("credentials");
    acting.pass(Duration::from_hours(4));
    assert_eq!(acting.key().as_ref(), Some(&old), "they are good for long yet");
    acting.pass(Duration::from_hours(1));
    let new = acting.key().expect("credentials");
    assert_ne!(new, old);
    assert!(acting.ends(&new) > acting.ends(&old));
    assert!(acting.ends(&old).is_some(), "who has the old ones may use them to their end");
    let (_, alone) = told(&agent.poll());
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].access_key_id, Some(new));
    assert_eq!(alone[0].credentials_id, first[0].credentials_id, "containers know no other");
}

#[test]
fn who_is_over_has_no_credentials() {
    let acting = Acting::new();
    let key = acting.key().expect("credentials");
    acting.pass(Duration::from_mins(1));
    assert!(acting.ends(&key).is_some());
    acting.world.stop(&acting.task, None).expect("stopping");
    acting.world.settle(&acting.instance);
    let arn = acting.world.task(&acting.task).arn().to_string();
    acting.world.report_status(&acting.instance, &arn, "STOPPED", Some(0));
    acting.world.settle(&acting.instance);
    acting.pass(Duration::from_mins(1));
    assert_eq!((acting.key(), acting.ends(&key)), (None, None));
}

#[test]
fn a_role_that_is_gone_leaves_what_there_is() {
    let acting = Acting::new();
    let key = acting.key().expect("credentials");
    let iam = iam::Iam::new(acting.world.platform.store.clone());
    let request = wire::iam::DeleteRoleRequest { role_name: Some("lister".to_owned()) };
    ready(wire::iam::Api::delete_role(&iam, &acting.world.root(), request)).expect("deleted");
    let before = acting.world.view().revision();
    acting.pass(Duration::from_hours(5));
    assert_eq!(acting.key(), Some(key), "nothing better is to be had");
    assert_eq!(acting.world.view().revision(), before, "what is as it was is not written");
}
