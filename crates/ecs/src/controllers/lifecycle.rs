//! Moves tasks on by what EC2 says of their interfaces and by what became of
//! their instances.
//!
//! An instance is lost when it left its cluster, or when its agent has been away
//! for longer than the grace that agents have. What still runs there is stopped
//! when the agent comes back: it is told of no task that is STOPPED.

use super::BATCH;
use super::vigil::Vigil;
use crate::Error;
use crate::records::{
    BY_CONNECTION, BY_INSTANCE, BY_PHASE, BY_STATUS, ContainerInstance, DISCONNECTED,
    InstanceStatus, StopCode, Task,
};
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use ec2::TaskEni;
use ec2::task_eni;
use ident::{Scope, TaskId, Timestamp};
use sched::lifecycle::{Event, Phase};
use std::sync::Arc;
use std::time::Duration;
use store::{Txn, View};

/// How long a card has for an interface before we give it up.
pub const PROVISIONING_TIMEOUT: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Debug)]
pub struct Lifecycle {
    agent_grace: Duration,
    vigil: Vigil,
}

impl Lifecycle {
    /// The controller that gives up the tasks of an agent which has been away for
    /// `agent_grace`, although it could have reached us.
    pub fn new(agent_grace: Duration) -> Self {
        Self { agent_grace, vigil: Vigil::default() }
    }
}

/// The time, and what it means for agents that are away.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Timestamp,
    /// Since when agents could have reached us.
    since: Timestamp,
    agent_grace: Duration,
}

impl Moment {
    /// Whether the agent of an instance has been away for too long to wait for it.
    fn forsaken(&self, host: &ContainerInstance) -> bool {
        let away_since = host.session_changed_at.max(self.since);
        !host.connected() && self.now.since(away_since) >= self.agent_grace
    }
}

/// What is due for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    /// Its interface is in place.
    Attached,
    /// It gets no interface, for this reason.
    NoInterface(String),
    /// Its interface is to be given back.
    Release,
    /// Its interface is gone.
    Released,
    /// Its instance is lost.
    Lost,
}

#[async_trait]
impl Controller for Lifecycle {
    fn name(&self) -> &'static str {
        "ecs-task-lifecycle"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let now = platform.now();
        let since = self.vigil.look(now);
        let moment = Moment { now, since, agent_grace: self.agent_grace };
        let plan = plan(&platform.store.view(), moment);
        for batch in plan.chunks(BATCH) {
            platform
                .store
                .transact(|txn| {
                    batch.iter().try_for_each(|(scope, id)| carry_out(txn, scope, id, moment))
                })
                .await?;
        }
        Ok(())
    }
}

/// The tasks for which something is due.
fn plan(view: &View, moment: Moment) -> Vec<(Scope, TaskId)> {
    let waiting = [Phase::Provisioning, Phase::Deprovisioning]
        .into_iter()
        .flat_map(|phase| view.by_any_scope::<Task>(BY_PHASE, phase.as_str()));
    let bereft = view
        .by_any_scope::<ContainerInstance>(BY_STATUS, InstanceStatus::Inactive.as_str())
        .chain(
            view.by_any_scope::<ContainerInstance>(BY_CONNECTION, DISCONNECTED)
                .filter(|away| moment.forsaken(away)),
        )
        .flat_map(|gone| view.by::<Task>(&gone.scope, BY_INSTANCE, gone.id.as_str()));
    let mut plan: Vec<_> = waiting
        .chain(bereft)
        .filter(|task| due(view, task, moment).is_some())
        .map(|task| (task.scope.clone(), task.id.clone()))
        .collect();
    plan.sort();
    plan.dedup();
    plan
}

/// What is due for `task`: a function of the state and the time alone.
fn due(view: &View, task: &Task, moment: Moment) -> Option<Due> {
    let host = view.get::<ContainerInstance>(&task.scope, task.instance.as_str());
    let left = host.as_ref().is_none_or(|host| host.status == InstanceStatus::Inactive);
    let forsaken = host.is_none_or(|host| moment.forsaken(&host));
    if (left || forsaken) && task.phase < Phase::Deprovisioning {
        return Some(Due::Lost);
    }
    let state = match &task.interface {
        Some(interface) => task_eni::state(view, &task.scope, &interface.eni),
        None => TaskEni::Gone,
    };
    match (task.phase, state) {
        (Phase::Provisioning, TaskEni::Attached) => Some(Due::Attached),
        (Phase::Provisioning, TaskEni::Failed(reason)) => Some(Due::NoInterface(format!(
            "Unexpected EC2 error while attempting to attach the network interface: {reason}"
        ))),
        (Phase::Provisioning, TaskEni::Detaching | TaskEni::Gone) => {
            Some(Due::NoInterface("The network interface of the task was deleted.".to_owned()))
        }
        (Phase::Provisioning, TaskEni::Attaching) => {
            let late = moment.now.since(task.times.created) >= PROVISIONING_TIMEOUT;
            late.then(|| {
                Due::NoInterface(
                    "Timeout waiting for network interface provisioning to complete.".to_owned(),
                )
            })
        }
        (Phase::Deprovisioning, TaskEni::Gone) => Some(Due::Released),
        (Phase::Deprovisioning, TaskEni::Attaching | TaskEni::Attached | TaskEni::Failed(_)) => {
            Some(Due::Release)
        }
        // With an agent its card may be gone too, and nobody is to wait for ever.
        // EC2 keeps the interface, and its address, until the card has said that
        // it is gone.
        (Phase::Deprovisioning, TaskEni::Detaching) if forsaken => Some(Due::Released),
        // The card is at it, or nothing depends on the interface.
        (Phase::Deprovisioning, TaskEni::Detaching)
        | (
            Phase::Pending
            | Phase::Activating
            | Phase::Running
            | Phase::Deactivating
            | Phase::Stopping
            | Phase::Stopped,
            _,
        ) => None,
    }
}

fn carry_out(txn: &mut Txn, scope: &Scope, id: &TaskId, moment: Moment) -> Result<(), Error> {
    let Some(found) = txn.get::<Task>(scope, id.as_str()) else { return Ok(()) };
    let Some(due) = due(txn.view(), &found, moment) else { return Ok(()) };
    let mut task = Task::clone(&found);
    let event = match due {
        Due::Attached => Event::EniAttached,
        Due::NoInterface(reason) => {
            task.because(Some(StopCode::TaskFailedToStart), reason);
            Event::EniFailed
        }
        Due::Lost => {
            let (code, reason) = lost(txn, &found, moment.agent_grace);
            task.because(code, reason);
            Event::InstanceLost
        }
        Due::Released => Event::Released,
        Due::Release => {
            if let Some(interface) = &task.interface {
                task_eni::release(txn, scope, &interface.eni)?;
            }
            return Ok(());
        }
    };
    if task.hear(event, moment.now) {
        txn.put(task);
    }
    Ok(())
}

/// AWS's words for a task that went with its instance. AWS knows only instances
/// that were terminated; of others we add what we know.
fn lost(txn: &Txn, task: &Task, agent_grace: Duration) -> (Option<StopCode>, String) {
    let host: Option<Arc<ContainerInstance>> = txn.view().get(&task.scope, task.instance.as_str());
    if host.as_ref().is_some_and(|host| host.deregistered) {
        return (None, "Container instance deregistration forced by user".to_owned());
    }
    let left = host.as_ref().is_none_or(|host| host.status == InstanceStatus::Inactive);
    let gone = match host.and_then(|host| host.ec2_instance.clone()) {
        Some(instance) => format!("Host EC2 (instance {instance}) terminated."),
        None => "The container instance of the task was lost.".to_owned(),
    };
    let seconds = agent_grace.as_secs();
    let reason = if left {
        gone
    } else {
        format!("{gone} Its agent was disconnected for {seconds} seconds.")
    };
    (Some(StopCode::TerminationNotice), reason)
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lost_agent_tests.rs"]
mod lost_agent_tests;
