//! What agents hold of the roles that their tasks act in.
//!
//! The credentials are the control plane's to make, to replace in time and to revoke;
//! agents keep what they hear, in memory. Nobody here asks for anything with them:
//! what is looked at is whether the edge would let it in.

use crate::machines::short;
use crate::plane::scope;
use crate::world::World;
use agent::engine::TaskArn;
use ecs::records::Task;
use iam::task_roles;
use ident::Timestamp;
use sched::lifecycle::Phase;
use std::collections::BTreeMap;
use std::time::Duration;
use store::View;
use wire::acs::IAMRoleCredentials;

/// What an agent holds, by the ids under which containers ask for it.
pub(crate) type Wallet = BTreeMap<String, (TaskArn, IAMRoleCredentials)>;

/// The account's one role, which ECS may give to tasks.
pub(crate) const ROLE: &str = "worker";
pub(crate) const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;

/// For how long credentials of a stopped task may still be good, as the clock tells it.
/// Written here again on purpose: it is looked for them once a minute.
const LINGER: Duration = Duration::from_mins(3);
/// The same in looks, for when the clock jumps: the controllers have their turn between
/// two of them, if they are not neglected.
const LOOKS: u32 = 60;

/// The credentials that agents were told, by their key ids.
#[derive(Debug, Default)]
pub(crate) struct Issued {
    /// Whose they are, by the task's id, and how often they were good after its end.
    keys: BTreeMap<String, (String, u32)>,
}

/// The ARN of the role.
pub(crate) fn role_arn() -> String {
    format!("arn:aws:iam::{}:role/{ROLE}", scope().account)
}

/// Whether requests signed with this key get in.
fn is_good(view: &View, key: &str, now: Timestamp) -> bool {
    task_roles::find(view, key).is_some_and(|session| session.expires > now)
}

/// The task without the credentials that are revoked after its end.
pub(crate) fn without_credentials(task: &Task) -> Task {
    let mut task = task.clone();
    for role in task.roles_mut() {
        (role.key, role.older) = (None, None);
    }
    task
}

impl World {
    /// An agent hears the credentials of a task, which are that task's, and the task is
    /// to run on its machine.
    pub(crate) fn keep(&mut self, node: usize, arn: TaskArn, given: IAMRoleCredentials) {
        let id = short_id(&arn).to_owned();
        let here = self.nodes[node].agent.disk.instance_arn.clone().unwrap_or_default();
        if let Some(task) = self.oracle.seen(&id)
            && !here.ends_with(task.instance.as_str())
        {
            self.fail(&format!("agent {node} is told the credentials of {id}, another's task"));
        }
        let key = given.access_key_id.clone().unwrap_or_default();
        let view = self.plane.as_ref().map(crate::plane::Plane::view);
        if let Some(session) = view.and_then(|view| task_roles::find(&view, &key))
            && session.principal.session != id
        {
            self.fail(&format!("{id} is given credentials of {:?}", session.principal));
        }
        let first = self.oracle.issued.keys.insert(key.clone(), (id.clone(), 0)).is_none();
        let under = given.credentials_id.clone().unwrap_or_default();
        let before = self.nodes[node].agent.wallet.insert(under, (arn, given));
        let other = before.and_then(|(_, before)| before.access_key_id).is_some_and(|it| it != key);
        if first && other {
            self.note(&format!("{} has other credentials", short(&id)));
            self.count("credentials were replaced");
        }
    }

    /// What a running task has is good, and what a task had is not.
    pub(crate) fn credentials(&mut self, view: &View) -> Option<String> {
        let now = self.clock_now();
        for (number, node) in self.nodes.iter().enumerate() {
            for (arn, given) in node.agent.wallet.values() {
                let task = view.get::<Task>(&scope(), short_id(arn));
                let key = given.access_key_id.as_deref().unwrap_or_default();
                if task.is_some_and(|task| task.phase == Phase::Running) && !is_good(view, key, now)
                {
                    return Some(format!("agent {number} holds what is no good for {arn:?}"));
                }
            }
        }
        let mut refused = 0;
        let mut still_good = None;
        self.oracle.issued.keys.retain(|key, (id, looks)| {
            let task = view.get::<Task>(&scope(), id);
            let ended = task.as_ref().is_none_or(|task| task.phase == Phase::Stopped);
            if !ended {
                return true;
            }
            if !is_good(view, key, now) {
                refused += 1;
                return false;
            }
            let stopped = task.and_then(|task| task.times.stopped);
            let long = stopped.is_none_or(|at| now.since(at) > LINGER);
            *looks += u32::from(long);
            if *looks > LOOKS {
                still_good = Some(format!("{id} has stopped, and its key {key} is good"));
            }
            true
        });
        for _ in 0..refused {
            self.count("credentials were refused");
        }
        still_good
    }

    /// Why a task on this node cannot act in its role yet, if it cannot.
    pub(crate) fn powerless(&self, node: usize, task: &Task) -> Option<String> {
        task.roles().find_map(|(_, role)| {
            let held = self.nodes[node].agent.wallet.get(&role.credentials_id);
            let key = held.and_then(|(_, given)| given.access_key_id.as_ref());
            (key != role.key.as_ref())
                .then(|| format!("{} has {key:?} instead of {:?}", task.id, role.key))
        })
    }
}

fn short_id(arn: &TaskArn) -> &str {
    arn.as_str().rsplit('/').next().unwrap_or_default()
}
