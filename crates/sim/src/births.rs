//! Whether a task was placed where it may be: judged when it is first seen, which
//! is before anything else is asked for.

use crate::machines::short;
use crate::plane::scope;
use crate::users::Order;
use crate::world::World;
use ecs::records::{ContainerInstance, InstanceStatus, Task};
use sched::lifecycle::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::View;

/// Whether each container instance took tasks when it was looked at last.
pub(crate) type Takers = BTreeMap<String, bool>;

impl World {
    /// Judges the tasks that were not there before.
    pub(crate) fn welcome(&mut self) {
        let Some(plane) = self.plane.as_ref().filter(|plane| !plane.is_dead()) else { return };
        let view = plane.view();
        let all: Vec<Arc<Task>> = view.list::<Task>(&scope()).collect();
        for task in all.iter().filter(|task| !self.oracle.knows(task)) {
            if let Some(problem) = self.misplaced(&view, task, &all) {
                self.fail(&format!("{} {problem}", short(task.id.as_str())));
            }
        }
        for task in all {
            self.oracle.meet(task);
        }
        let machines = view.list::<ContainerInstance>(&scope());
        self.oracle.takers = machines.map(|it| (it.id.to_string(), takes(&it))).collect();
    }

    fn misplaced(&self, view: &View, task: &Task, all: &[Arc<Task>]) -> Option<String> {
        let host = view.get::<ContainerInstance>(&scope(), task.instance.as_str())?;
        // It may have changed since; but not there and back.
        let before = self.oracle.takers.get(host.id.as_str()).copied();
        if !takes(&host) && before == Some(false) {
            return Some(format!("was placed on {}, which is {:?}", host.id, host.status));
        }
        let number: usize = task.started_by.as_deref()?.strip_prefix("order-")?.parse().ok()?;
        let order = self.users.orders.get(number)?;
        if order.distinct() {
            let kin = |it: &&Arc<Task>| {
                it.id != task.id
                    && it.instance == task.instance
                    && it.group == task.group
                    && it.phase < Phase::Stopped
            };
            if let Some(other) = all.iter().find(kin) {
                let other = short(other.id.as_str());
                return Some(format!("is on one instance with {other} of its group"));
            }
        }
        let node =
            self.nodes.iter().position(|node| Some(&node.id) == host.ec2_instance.as_ref())?;
        let Order { among, on, .. } = order;
        if among.as_ref().is_some_and(|among| !among.contains(&node)) {
            return Some(format!("is on node {node}, which is not among {among:?}"));
        }
        if on.as_ref().is_some_and(|on| *on != host.arn().to_string()) {
            return Some(format!("is on {}, and was to be started on {on:?}", host.id));
        }
        let subnet = task.interface.as_ref().map(|interface| interface.subnet.to_string());
        if subnet.is_some_and(|subnet| !order.subnets().contains(&subnet)) {
            return Some("has an interface in a subnet that was not named".to_owned());
        }
        None
    }
}

fn takes(host: &ContainerInstance) -> bool {
    host.status == InstanceStatus::Active
}
