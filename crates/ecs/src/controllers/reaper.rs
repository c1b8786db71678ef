//! Forgets what has been over for long enough: tasks that stopped, container
//! instances that left, clusters that were deleted.

use super::BATCH;
use crate::records::{
    BY_CLUSTER, BY_INSTANCE, BY_PHASE, BY_STATUS, Cluster, ContainerInstance, InstanceStatus, Task,
    TasksOf,
};
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use ident::Timestamp;
use sched::lifecycle::Phase;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::{Record, StoreError};

/// See the module.
///
/// It remembers one thing, and only to save work: when it is worth looking again.
/// What ends after a look is due later than anything that was there.
#[derive(Debug)]
pub struct Reaper {
    retention: Duration,
    worth_looking_at: AtomicI64,
}

impl Reaper {
    /// The controller that lets everything be seen for `retention` after its end.
    pub fn new(retention: Duration) -> Self {
        Self { retention, worth_looking_at: AtomicI64::default() }
    }

    /// Forgets those of `all` that ended long enough ago, and says when the next
    /// of them is due, or the next that ends.
    async fn sweep<R: Record>(
        &self,
        platform: &Platform,
        all: impl Iterator<Item = Arc<R>>,
        ended: fn(&R) -> Option<Timestamp>,
    ) -> Result<Timestamp, StoreError> {
        let now = platform.now();
        let until = |record: &R| Some(ended(record)?.after(self.retention));
        let mut next = now.after(self.retention);
        let mut plan = vec![];
        for record in all {
            match until(&record) {
                Some(until) if until <= now => plan.push(record),
                Some(until) => next = next.min(until),
                None => {}
            }
        }
        for batch in plan.chunks(BATCH) {
            platform
                .store
                .transact(|txn| {
                    for record in batch {
                        let id = record.id();
                        // A cluster may have been made anew meanwhile.
                        let found = txn.get::<R>(record.scope(), &id);
                        if found.and_then(|found| until(&found)).is_some_and(|until| until <= now) {
                            txn.delete::<R>(record.scope(), &id);
                        }
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        Ok(next)
    }
}

#[async_trait]
impl Controller for Reaper {
    fn name(&self) -> &'static str {
        "ecs-reaper"
    }

    fn period(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// What belongs to something is forgotten before it, and it only then.
    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        if platform.now().0 < self.worth_looking_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let view = platform.store.view();
        let tasks = view.by_any_scope::<Task>(BY_PHASE, Phase::Stopped.as_str());
        let mut next = self.sweep(platform, tasks, task_ended).await?;

        let view = platform.store.view();
        let instances = view
            .by_any_scope::<ContainerInstance>(BY_STATUS, InstanceStatus::Inactive.as_str())
            .filter(|it| view.by::<Task>(&it.scope, BY_INSTANCE, it.id.as_str()).next().is_none());
        next = next.min(self.sweep(platform, instances, instance_left).await?);

        let view = platform.store.view();
        let clusters = view.all::<Cluster>().filter(|it| {
            let name = it.name.as_str();
            TasksOf::cluster(&view, &it.scope, &it.name).next().is_none()
                && view.by::<ContainerInstance>(&it.scope, BY_CLUSTER, name).next().is_none()
        });
        next = next.min(self.sweep(platform, clusters, |it| it.deleted_at).await?);

        self.worth_looking_at.store(next.0, Ordering::Relaxed);
        Ok(())
    }
}

fn task_ended(task: &Task) -> Option<Timestamp> {
    let stopped = task.times.stopped.unwrap_or(task.times.created);
    (task.phase == Phase::Stopped).then_some(stopped)
}

fn instance_left(instance: &ContainerInstance) -> Option<Timestamp> {
    (instance.status == InstanceStatus::Inactive).then_some(instance.session_changed_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use crate::testing::{World, ready, scope};
    use wire::ecs;

    const KEPT: Duration = Duration::from_mins(20);
    const MOMENT: Duration = Duration::from_millis(1);

    fn reap(world: &World, reaper: &Reaper) {
        ready(reaper.reconcile(&world.platform)).expect("reconciles");
    }

    #[test]
    fn stopped_tasks_are_shown_for_as_long_as_one_likes() {
        for kept in [Duration::ZERO, KEPT, Duration::from_hours(24)] {
            let world = World::new();
            let instance = world.instance(1);
            let task = world.stopped_task(&instance);
            let reaper = Reaper::new(kept);
            if !kept.is_zero() {
                reap(&world, &reaper);
                assert!(world.task_if_any(&task).is_some());
                world.clock.advance(kept.saturating_sub(MOMENT));
                reap(&world, &reaper);
                assert!(world.task_if_any(&task).is_some());
                world.clock.advance(MOMENT);
            }
            reap(&world, &reaper);
            assert!(world.task_if_any(&task).is_none(), "{kept:?}");
        }
    }

    fn create(world: &World, name: &str) {
        let request =
            ecs::CreateClusterRequest { cluster_name: Some(name.to_owned()), ..Default::default() };
        ready(api::create_cluster(&world.root(), request)).expect("created");
    }

    fn delete(world: &World, name: &str) {
        let request = ecs::DeleteClusterRequest { cluster: Some(name.to_owned()) };
        ready(api::delete_cluster(&world.root(), request)).expect("deleted");
    }

    fn is_there(world: &World, name: &str) -> bool {
        world.view().get::<Cluster>(&scope(), name).is_some()
    }

    #[test]
    fn a_deleted_cluster_is_shown_for_a_while() {
        let world = World::new();
        let reaper = Reaper::new(KEPT);
        for name in ["stays", "goes", "comes-back"] {
            create(&world, name);
        }
        delete(&world, "goes");
        delete(&world, "comes-back");
        world.clock.advance(KEPT.saturating_sub(MOMENT));
        reap(&world, &reaper);
        assert!(is_there(&world, "goes"));
        create(&world, "comes-back");
        world.clock.advance(MOMENT);
        reap(&world, &reaper);
        assert!(!is_there(&world, "goes"));
        assert!(is_there(&world, "stays") && is_there(&world, "comes-back"));
    }

    #[test]
    fn a_cluster_is_forgotten_after_what_was_in_it() {
        let world = World::new();
        let reaper = Reaper::new(KEPT);
        let instance = world.instance(1);
        let task = world.stopped_task(&instance);
        let request = ecs::DeregisterContainerInstanceRequest {
            container_instance: Some(instance.id.to_string()),
            ..Default::default()
        };
        ready(api::deregister_container_instance(&world.root(), request)).expect("gone");
        delete(&world, "default");
        // Only the task is younger.
        let mut young = world.task(&task);
        young.times.stopped = Some(world.platform.now().after(MOMENT));
        ready(world.platform.store.transact(|txn| {
            txn.put(young.clone());
            Ok::<_, StoreError>(())
        }))
        .expect("written");
        world.clock.advance(KEPT);
        reap(&world, &reaper);
        assert!(world.task_if_any(&task).is_some());
        assert!(is_there(&world, "default"), "its task is shown");
        assert!(world.view().get::<ContainerInstance>(&scope(), instance.id.as_str()).is_some());
        world.clock.advance(MOMENT);
        reap(&world, &reaper);
        assert!(world.task_if_any(&task).is_none());
        assert!(world.view().get::<ContainerInstance>(&scope(), instance.id.as_str()).is_none());
        assert!(!is_there(&world, "default"));
    }
}
