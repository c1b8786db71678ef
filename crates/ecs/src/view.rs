//! What follows from the state: questions that several handlers ask of a view.

use crate::records::{BY_CLUSTER, BY_INSTANCE, ContainerInstance, InstanceStatus, Task};
use ident::{ClusterName, Scope};
use sched::lifecycle::Phase;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::View;

/// The tasks of a container instance that take room on it.
pub fn tenants(view: &View, instance: &ContainerInstance) -> impl Iterator<Item = Arc<Task>> {
    view.by::<Task>(&instance.scope, BY_INSTANCE, instance.id.as_str())
        .filter(|task| task.phase.holds_room())
}

/// The GPUs of a container instance that no task has, by their ids.
pub(crate) fn free_gpus(view: &View, instance: &ContainerInstance) -> BTreeSet<String> {
    let mut free: BTreeSet<String> = instance.gpus().into_iter().map(str::to_owned).collect();
    if !free.is_empty() {
        for task in tenants(view, instance) {
            for id in task.containers.iter().flat_map(|container| &container.gpu_ids) {
                free.remove(id);
            }
        }
    }
    free
}

/// How many tasks run and how many are about to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) running: i32,
    pub(crate) pending: i32,
}

impl Counts {
    pub(crate) fn of(tasks: impl Iterator<Item = Arc<Task>>) -> Self {
        tasks.fold(Self::default(), |mut counts, task| {
            match task.phase {
                Phase::Running => counts.running += 1,
                Phase::Provisioning | Phase::Pending | Phase::Activating => counts.pending += 1,
                Phase::Deactivating | Phase::Stopping | Phase::Deprovisioning | Phase::Stopped => {}
            }
            counts
        })
    }
}

/// The container instances of a cluster that are not gone.
pub(crate) fn instances(
    view: &View,
    scope: &Scope,
    cluster: &ClusterName,
) -> impl Iterator<Item = Arc<ContainerInstance>> {
    view.by::<ContainerInstance>(scope, BY_CLUSTER, cluster.as_str())
        .filter(|instance| instance.status != InstanceStatus::Inactive)
}
