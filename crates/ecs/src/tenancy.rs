//! What becomes of tasks when their account is deleted.

use crate::controllers::BATCH;
use crate::records::{ContainerInstance, InstanceStatus, StopCode, Task};
use async_trait::async_trait;
use chassis::{BoxError, Platform, Tenancy};
use ident::{AccountId, Timestamp};
use sched::lifecycle::{Event, Phase, step};
use std::time::Duration;
use store::StoreError;

/// What is said of a task that was stopped for this.
const REASON: &str = "The account is being deleted.";
/// How long an agent that is away is waited for. Its tasks are then given up: with
/// the account, its key goes, and it could never report them.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Ends what ECS has of an account: its tasks are stopped as StopTask would, and
/// those of an agent that stays away are given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evict;

#[async_trait]
impl Tenancy for Evict {
    fn name(&self) -> &'static str {
        "ecs"
    }

    async fn evict(
        &self,
        platform: &Platform,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<bool, BoxError> {
        let (store, now) = (&platform.store, platform.now());
        let stoppable: Vec<_> =
            store.view().of_account::<Task>(account).filter(|task| can_stop(task)).collect();
        for batch in stoppable.chunks(BATCH) {
            store
                .transact(|txn| {
                    for task in batch {
                        let Some(found) = txn.get::<Task>(&task.scope, task.id.as_str()) else {
                            continue;
                        };
                        if can_stop(&found) {
                            let mut task = Task::clone(&found);
                            task.because(Some(StopCode::UserInitiated), REASON.to_owned());
                            task.hear(Event::StopRequested, now);
                            txn.put(task);
                        }
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        let view = store.view();
        if view.of_account::<Task>(account).all(|task| task.phase == Phase::Stopped) {
            return Ok(true);
        }
        for instance in view.of_account::<ContainerInstance>(account) {
            if forsaken(&instance, since, now) {
                store
                    .transact(|txn| {
                        let id = instance.id.as_str();
                        let found = txn.get::<ContainerInstance>(&instance.scope, id);
                        if let Some(found) = found.filter(|found| forsaken(found, since, now)) {
                            let mut gone = ContainerInstance::clone(&found);
                            gone.status = InstanceStatus::Inactive;
                            txn.put(gone);
                        }
                        Ok::<_, StoreError>(())
                    })
                    .await?;
            }
        }
        Ok(false)
    }
}

fn can_stop(task: &Task) -> bool {
    step(task.phase, Event::StopRequested, task.needs).is_some()
}

/// Whether the agent has been away for too long to wait for it.
fn forsaken(instance: &ContainerInstance, since: Timestamp, now: Timestamp) -> bool {
    let away_since = instance.session_changed_at.max(since);
    instance.status != InstanceStatus::Inactive
        && !instance.connected()
        && now.since(away_since) >= PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acs;
    use crate::testing::{World, ready, scope};
    use ec2::records::{Eni, Instance};

    fn evict(world: &World) -> bool {
        let since = world.platform.now();
        ready(Evict.evict(&world.platform, &scope().account, since)).expect("reconciles")
    }

    #[test]
    fn tasks_are_stopped_by_their_agents() {
        let world = World::new();
        let instance = world.instance(1);
        world.define(|_| {});
        let id = world.run_one();
        world.settle(&instance);
        let mut agent = world.agent(&instance, "s-1");
        agent.obey();
        assert_eq!(world.task(&id).phase, Phase::Running);

        assert!(!evict(&world), "the agent has to stop it");
        assert_eq!(world.task(&id).phase, Phase::Stopping);
        agent.obey();
        assert!(!evict(&world), "the card has to take the interface away");
        world.settle(&instance);
        assert!(evict(&world));
        let task = world.task(&id);
        assert_eq!(task.stop.expect("a reason").reason, REASON);
        assert!(world.task_enis().is_empty());
    }

    #[test]
    fn an_agent_that_stays_away_is_waited_for_and_then_not() {
        let world = World::new();
        let instance = world.instance(1);
        world.define(|_| {});
        let id = world.run_one();
        world.settle(&instance);
        world.agent(&instance, "s-1").obey();
        let here = scope();
        let gone = acs::disconnect(&world.platform, &here, &instance.id, "s-1");
        ready(gone).expect("noted");
        let since = world.platform.now();
        let evict = || {
            let done = Evict.evict(&world.platform, &here.account, since);
            let done = ready(done).expect("reconciles");
            world.reconcile();
            done
        };
        assert!(!evict());
        world.clock.advance(PATIENCE.saturating_sub(Duration::from_millis(1)));
        assert!(!evict());
        assert_eq!(world.task(&id).phase, Phase::Stopping, "it may yet come back");
        world.clock.advance(Duration::from_millis(1));
        assert!(!evict());
        assert_eq!(world.task(&id).phase, Phase::Deprovisioning);
        world.settle(&instance);
        assert!(evict());
        assert_eq!(world.view().of_account::<Instance>(&scope().account).count(), 1);
        assert!(world.view().of_account::<Eni>(&scope().account).count() == 1, "the machine's own");
    }
}
