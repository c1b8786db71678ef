//! What placement knows of container instances, derived from the state.
//!
//! Each container instance is counted afresh whenever one of its tasks changes, it
//! does itself, or the machine does that it is: so what remains of it always adds
//! up. [`sched::placement::Fleet`] arranges them so that a place is found without
//! looking at all of them.

use crate::records::{BY_EC2_INSTANCE, ContainerInstance, InstanceStatus, Task};
use crate::view::tenants;
use ident::{ClusterName, ContainerInstanceId, Scope};
use sched::lifecycle::Phase;
use sched::placement::{self, Candidate, Demand, Fleet, Host, Placement, Tenant};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use store::{Derived, Record, Registry, Txn, View};

/// The container instances of one scope that are not gone, by cluster.
#[derive(Debug, Default, PartialEq)]
pub struct Fleets {
    fleets: BTreeMap<Which, Fleet>,
    members: HashMap<ContainerInstanceId, Member>,
}

/// A cluster, and whether those machines of it are meant that are outside of AWS.
pub type Which = (ClusterName, bool);

/// A container instance, and what it was last described from.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    which: Which,
    record: Arc<ContainerInstance>,
    machine: Option<Arc<ec2::records::Instance>>,
}

/// `registry`, with the fleets derived from it.
#[must_use]
pub(crate) fn derived(registry: Registry) -> Registry {
    registry
        .derive::<Task, Fleets>(|_, task| vec![task.instance.to_string()])
        .derive::<ContainerInstance, Fleets>(|_, instance| vec![instance.id.to_string()])
        .derive::<ec2::records::Instance, Fleets>(|view, machine| {
            view.by::<ContainerInstance>(&machine.scope, BY_EC2_INSTANCE, &machine.id())
                .map(|instance| instance.id.to_string())
                .collect()
        })
}

/// The machines of a cluster that tasks might go to: those of EC2, or the external
/// ones. None if it has no such machines.
pub fn of<'t>(txn: &'t mut Txn, scope: &Scope, which: &Which) -> Option<&'t Fleet> {
    txn.derived::<Fleets>(scope).fleets.get(which)
}

/// Finds places for `copies` of a task on these machines.
///
/// Tasks that are then started there are, as far as the fleet goes, there already: it
/// is only looked whether it is so when places are wanted next.
pub fn place(
    txn: &mut Txn,
    scope: &Scope,
    which: &Which,
    demand: &Demand,
    (copies, seed): (u32, u64),
) -> Placement {
    let fleets = &mut txn.derived::<Fleets>(scope).fleets;
    let Some(fleet) = fleets.get_mut(which) else { return Placement::default() };
    fleet.arrange(demand);
    let placement = placement::place(fleet, demand, copies, seed);
    for place in &placement.places {
        txn.doubt::<Fleets>(scope, place.instance.to_string());
    }
    placement
}

/// A container instance as placement sees it, also when it is gone.
pub(crate) fn candidate(view: &View, instance: &ContainerInstance) -> Arc<Candidate> {
    let machine = machine(view, instance);
    count(view, instance, Candidate::new(Arc::new(host(view, instance, machine.as_deref()))))
}

impl Derived for Fleets {
    const NAME: &'static str = "ecs.fleets";

    fn refresh(&mut self, view: &View, scope: &Scope, subject: &str) {
        let Ok(id) = subject.parse::<ContainerInstanceId>() else { return };
        let found = view.get::<ContainerInstance>(scope, subject);
        let found = found.filter(|instance| instance.status != InstanceStatus::Inactive);
        let Some(record) = found else {
            if let Some(before) = self.members.remove(&id) {
                self.take_out(&before.which, &id);
            }
            return;
        };
        let machine = machine(view, &record);
        // Mostly only its tasks differ, and where it stands is known.
        if let Some(before) =
            self.members.get(&id).filter(|it| it.is_from(&record, machine.as_ref()))
        {
            if let Some(fleet) = self.fleets.get_mut(&before.which)
                && let Some(known) = fleet.get(&id)
            {
                let now = count(view, &record, known.vacated());
                if now != *known {
                    fleet.put(&now);
                }
            }
            return;
        }
        let which = (record.cluster.clone(), record.is_external());
        let host = Arc::new(host(view, &record, machine.as_deref()));
        let now = count(view, &record, Candidate::new(host));
        let before =
            self.members.insert(id.clone(), Member { which: which.clone(), record, machine });
        if let Some(before) = before.filter(|before| before.which != which) {
            self.take_out(&before.which, &id);
        }
        self.fleets.entry(which).or_default().put(&now);
    }
}

impl Member {
    /// Whether it was described from just these.
    fn is_from(
        &self,
        record: &Arc<ContainerInstance>,
        machine: Option<&Arc<ec2::records::Instance>>,
    ) -> bool {
        Arc::ptr_eq(&self.record, record)
            && self.machine.as_ref().map(Arc::as_ptr) == machine.map(Arc::as_ptr)
    }
}

impl Fleets {
    fn take_out(&mut self, which: &Which, id: &ContainerInstanceId) {
        let Some(fleet) = self.fleets.get_mut(which) else { return };
        fleet.remove(id);
        if fleet.is_empty() {
            self.fleets.remove(which);
        }
    }
}

/// The machine of EC2 that a container instance is, if it is one.
fn machine(view: &View, instance: &ContainerInstance) -> Option<Arc<ec2::records::Instance>> {
    view.get(&instance.scope, instance.ec2_instance.as_ref()?.as_str())
}

fn host(
    view: &View,
    instance: &ContainerInstance,
    machine: Option<&ec2::records::Instance>,
) -> Host {
    // An interface that a user attached has the place of a task's.
    let by_hand = machine.map_or(0, |machine| ec2::eni::by_hand(view, machine));
    let mut capacity = instance.capacity.clone();
    capacity.enis = capacity.enis.map(|enis| enis.saturating_sub(by_hand));
    capacity.gpus = i64::try_from(instance.gpus().len()).unwrap_or(i64::MAX);
    Host {
        id: instance.id.clone(),
        active: instance.status == InstanceStatus::Active,
        connected: instance.connected(),
        // As EC2 knows them now. A machine outside of EC2 is in a zone without a name.
        zones: match machine {
            Some(machine) => machine.zones.iter().map(|zone| zone.name.clone()).collect(),
            None => vec![String::new()],
        },
        attributes: instance.attributes.clone(),
        capacity,
        ec2_instance: instance.ec2_instance.as_ref().map(ToString::to_string),
        agent_version: instance.version_info.agent_version.clone(),
        registered_at: instance.registered_at,
    }
}

/// What the tasks of a container instance leave of it, which is vacant yet.
fn count(view: &View, instance: &ContainerInstance, mut candidate: Candidate) -> Arc<Candidate> {
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
