//! What follows from the state: questions that several handlers ask of a view.

use crate::records::{BY_CLUSTER, BY_INSTANCE, ContainerInstance, InstanceStatus, Task};
use ident::{ClusterName, Scope};
use sched::lifecycle::Phase;
use sched::placement::{Candidate, Host, Tenant};
use sched::resources::{Need, Room};
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

/// A container instance as placement sees it.
pub(crate) fn candidate(view: &View, instance: &ContainerInstance) -> Arc<Candidate> {
    let host = Host {
        id: instance.id.clone(),
        active: instance.status == InstanceStatus::Active,
        connected: instance.connected(),
        zones: zones(view, instance),
        attributes: instance.attributes.clone(),
        capacity: instance.capacity.clone(),
        ec2_instance: instance.ec2_instance.as_ref().map(ToString::to_string),
        agent_version: instance.version_info.agent_version.clone(),
        registered_at: instance.registered_at,
    };
    let mut candidate = Candidate::new(Arc::new(host));
    for task in tenants(view, instance) {
        candidate.admit(&Tenant {
            group: &task.group,
            zone: &task.zone,
            need: &task.need,
            running: task.phase == Phase::Running,
        });
    }
    Arc::new(candidate)
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
