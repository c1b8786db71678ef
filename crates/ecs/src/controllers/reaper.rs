//! Forgets tasks that stopped long enough ago, and container instances that left.

use super::BATCH;
use crate::records::{BY_INSTANCE, BY_PHASE, BY_STATUS, ContainerInstance, InstanceStatus, Task};
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use ident::Timestamp;
use sched::lifecycle::Phase;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::StoreError;

/// How long a stopped task stays visible, and a container instance that left.
pub const KEPT: Duration = Duration::from_hours(1);

/// See the module.
///
/// It remembers one thing, and only to save work: when it is worth looking again.
/// A task that stops after a look is due later than any that was there.
#[derive(Debug, Default)]
pub struct Reaper {
    worth_looking_at: AtomicI64,
}

#[async_trait]
impl Controller for Reaper {
    fn name(&self) -> &'static str {
        "ecs-task-reaper"
    }

    fn period(&self) -> Duration {
        Duration::from_mins(1)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let now = platform.now();
        if now.0 < self.worth_looking_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let view = platform.store.view();
        let mut plan = vec![];
        let mut next = now.after(KEPT);
        for task in view.by_any_scope::<Task>(BY_PHASE, Phase::Stopped.as_str()) {
            let until = expiry(&task);
            if until <= now {
                plan.push(task);
            } else {
                next = next.min(until);
            }
        }
        for batch in plan.chunks(BATCH) {
            platform
                .store
                .transact(|txn| {
                    for task in batch {
                        txn.delete::<Task>(&task.scope, task.id.as_str());
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        next = next.min(forget_instances(platform, now).await?);
        self.worth_looking_at.store(next.0, Ordering::Relaxed);
        Ok(())
    }
}

/// Forgets container instances that left long enough ago and whose tasks are
/// forgotten, and says when the next is due.
async fn forget_instances(platform: &Platform, now: Timestamp) -> Result<Timestamp, StoreError> {
    let view = platform.store.view();
    let mut plan = vec![];
    let mut next = now.after(KEPT);
    for gone in view
        .by_any_scope::<ContainerInstance>(BY_STATUS, InstanceStatus::Inactive.as_str())
        .filter(|gone| view.by::<Task>(&gone.scope, BY_INSTANCE, gone.id.as_str()).next().is_none())
    {
        let until = gone.session_changed_at.after(KEPT);
        if until <= now {
            plan.push(gone);
        } else {
            next = next.min(until);
        }
    }
    for batch in plan.chunks(BATCH) {
        platform
            .store
            .transact(|txn| {
                for gone in batch {
                    txn.delete::<ContainerInstance>(&gone.scope, gone.id.as_str());
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    Ok(next)
}

fn expiry(task: &Task) -> Timestamp {
    task.times.stopped.unwrap_or(task.times.created).after(KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, ready};

    #[test]
    fn stopped_tasks_are_shown_for_an_hour() {
        let world = World::new();
        let instance = world.instance(1);
        let task = world.stopped_task(&instance);
        let reaper = Reaper::default();
        let still_there = || {
            ready(reaper.reconcile(&world.platform)).expect("reconciles");
            world.task_if_any(&task).is_some()
        };
        assert!(still_there());
        world.clock.advance(KEPT.saturating_sub(Duration::from_secs(1)));
        assert!(still_there());
        world.clock.advance(Duration::from_secs(1));
        assert!(!still_there());
    }
}
