//! Moves tasks on by what EC2 says of their interfaces and by what became of
//! their instances.

use super::BATCH;
use crate::Error;
use crate::records::{
    BY_INSTANCE, BY_PHASE, BY_STATUS, ContainerInstance, InstanceStatus, StopCode, Task,
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
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle;

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
    /// Its instance is gone.
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
        let plan = plan(&platform.store.view(), platform.now());
        for batch in plan.chunks(BATCH) {
            let now = platform.now();
            platform
                .store
                .transact(|txn| {
                    batch.iter().try_for_each(|(scope, id)| carry_out(txn, scope, id, now))
                })
                .await?;
        }
        Ok(())
    }
}

/// The tasks for which something is due.
fn plan(view: &View, now: Timestamp) -> Vec<(Scope, TaskId)> {
    let waiting = [Phase::Provisioning, Phase::Deprovisioning]
        .into_iter()
        .flat_map(|phase| view.by_any_scope::<Task>(BY_PHASE, phase.as_str()));
    let bereft = view
        .by_any_scope::<ContainerInstance>(BY_STATUS, InstanceStatus::Inactive.as_str())
        .flat_map(|gone| view.by::<Task>(&gone.scope, BY_INSTANCE, gone.id.as_str()));
    let mut plan: Vec<_> = waiting
        .chain(bereft)
        .filter(|task| due(view, task, now).is_some())
        .map(|task| (task.scope.clone(), task.id.clone()))
        .collect();
    plan.sort();
    plan.dedup();
    plan
}

/// What is due for `task`: a function of the state and the time alone.
fn due(view: &View, task: &Task, now: Timestamp) -> Option<Due> {
    let host = view.get::<ContainerInstance>(&task.scope, task.instance.as_str());
    let lost = host.is_none_or(|host| host.status == InstanceStatus::Inactive);
    if lost && task.phase < Phase::Deprovisioning {
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
            let late = now.since(task.times.created) >= PROVISIONING_TIMEOUT;
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

fn carry_out(txn: &mut Txn, scope: &Scope, id: &TaskId, now: Timestamp) -> Result<(), Error> {
    let Some(found) = txn.get::<Task>(scope, id.as_str()) else { return Ok(()) };
    let Some(due) = due(txn.view(), &found, now) else { return Ok(()) };
    let mut task = Task::clone(&found);
    let event = match due {
        Due::Attached => Event::EniAttached,
        Due::NoInterface(reason) => {
            task.because(Some(StopCode::TaskFailedToStart), reason);
            Event::EniFailed
        }
        Due::Lost => {
            task.because(None, lost(txn, &found));
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
    if task.hear(event, now) {
        txn.put(task);
    }
    Ok(())
}

/// AWS's words for a task that went with its instance.
fn lost(txn: &Txn, task: &Task) -> String {
    let host: Option<Arc<ContainerInstance>> = txn.view().get(&task.scope, task.instance.as_str());
    if host.as_ref().is_some_and(|host| host.deregistered) {
        return "Container instance deregistration forced by user".to_owned();
    }
    match host.and_then(|host| host.ec2_instance.clone()) {
        Some(instance) => format!("Host EC2 (instance {instance}) terminated."),
        None => "The container instance of the task was deregistered.".to_owned(),
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
