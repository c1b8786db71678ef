//! What follows from the state: questions that several handlers ask of a view.

use crate::records::{BY_CLUSTER, BY_INSTANCE, ContainerInstance, InstanceStatus, Task};
use ident::{ClusterName, Scope};
use sched::lifecycle::Phase;
use sched::placement::Candidate;
use sched::resources::{Need, Room};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::View;

/// The tasks of a container instance that take room on it.
pub fn tenants(view: &View, instance: &ContainerInstance) -> impl Iterator<Item = Arc<Task>> {
    view.by::<Task>(&instance.scope, BY_INSTANCE, instance.id.as_str())
        .filter(|task| task.phase.holds_room())
}

/// What the tasks of a container instance leave of it. Always counted afresh, so
/// that it always adds up.
pub fn room(view: &View, instance: &ContainerInstance) -> Room {
    let needs: Vec<Need> = tenants(view, instance).map(|task| task.need.clone()).collect();
    instance.capacity.room(&needs)
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

/// A container instance as placement sees it, for a task of `group`.
pub(crate) fn candidate(view: &View, instance: &ContainerInstance, group: &str) -> Candidate {
    let tenants: Vec<Arc<Task>> = tenants(view, instance).collect();
    let mut kin = BTreeMap::<String, u32>::new();
    for task in tenants.iter().filter(|task| task.group == group) {
        let count = kin.entry(task.zone.clone()).or_default();
        *count = count.saturating_add(1);
    }
    Candidate {
        id: instance.id.clone(),
        active: instance.status == InstanceStatus::Active,
        connected: instance.connected(),
        zones: zones(view, instance),
        attributes: instance.attributes.clone(),
        capacity: instance.capacity.clone(),
        room: instance.capacity.room(tenants.iter().map(|task| &task.need)),
        tasks: u32::try_from(tenants.len()).unwrap_or(u32::MAX),
        kin,
    }
}

/// The zones that a container instance stands in, as EC2 knows them now. A
/// machine outside of EC2 is in one without a name.
fn zones(view: &View, instance: &ContainerInstance) -> Vec<String> {
    let known = instance
        .ec2_instance
        .as_ref()
        .and_then(|id| view.get::<ec2::records::Instance>(&instance.scope, id.as_str()));
    match known {
        Some(machine) => machine.zones.iter().map(|zone| zone.name.clone()).collect(),
        None => vec![String::new()],
    }
}
