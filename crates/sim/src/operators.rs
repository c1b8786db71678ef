//! Those who look after the installation: they drain machines and take them out of
//! their cluster, replace definitions and clusters, protect tasks, and attach
//! interfaces. None of it is asked for again if there is no answer.

use crate::plane::{Plane, ready, scope};
use crate::users::{FAMILIES, definition};
use crate::world::{Answer, World};
use ec2::records::{Eni, Instance};
use ecs::records::{Cluster, ContainerInstance, Definition, InstanceStatus, Task};
use sched::lifecycle::Phase;
use std::sync::Arc;
use wire::Fault;
use wire::ec2::Api as _;
use wire::ecs::Api as _;
use wire::{ec2 as shapes, ecs as requests};

/// The cluster that is deleted and made anew.
const CLUSTER: &str = "blue";
/// The interfaces that are made for being attached by hand.
const MOST_ENIS: usize = 4;

impl World {
    /// Somebody looks after something.
    pub(crate) fn operate(&mut self) {
        match self.rng.below(14) {
            0..=3 => self.set_state(),
            4 => {
                let node = self.rng.index(self.nodes.len());
                let force = self.rng.one_in(2);
                self.take_out(node, force);
            }
            5 | 12 => self.delete_cluster(),
            6 => self.replace_definition(),
            7 => self.protect(),
            8..=10 => self.handle_eni(),
            _ => self.delete_definitions(),
        }
    }

    /// What others need to go on is put right.
    pub(crate) fn mend(&mut self) {
        let there = |plane: &Plane| {
            let found = plane.view().get::<Cluster>(&scope(), CLUSTER);
            found.is_some_and(|cluster| cluster.deleted_at.is_none())
        };
        if self.plane.as_ref().is_none_or(there) || !self.rng.one_in(8) {
            return;
        }
        let request = requests::CreateClusterRequest {
            cluster_name: Some(CLUSTER.to_owned()),
            ..Default::default()
        };
        let made = self.call(|plane| ready(plane.ecs.create_cluster(&plane.root(), request)));
        if let Answer::Refused(fault) = made {
            self.fail(&format!("the cluster cannot be made again: {fault:?}"));
        }
    }

    /// A machine is to take tasks, or no more.
    fn set_state(&mut self) {
        let node = self.rng.index(self.nodes.len());
        let Some(arn) = self.nodes[node].agent.disk.instance_arn.clone() else { return };
        let status = if self.rng.one_in(4) { "DRAINING" } else { "ACTIVE" };
        let request = requests::UpdateContainerInstancesStateRequest {
            cluster: Some(self.nodes[node].cluster.clone()),
            container_instances: Some(vec![arn]),
            status: Some(status.to_owned()),
        };
        let set = self.call(|plane| {
            ready(plane.ecs.update_container_instances_state(&plane.root(), request))
        });
        if let Answer::Given(given) = set {
            let done = given.failures.is_none_or(|failures| failures.is_empty());
            self.count(if done { status } else { "a state could not be set" });
            self.note(&format!("node {node} is to be {status}: {done}"));
        }
    }

    /// A machine is taken out of its cluster; its agent may come again.
    fn take_out(&mut self, node: usize, force: bool) {
        let Some(arn) = self.nodes[node].agent.disk.instance_arn.clone() else { return };
        let busy = self.plane.as_ref().is_some_and(|plane| {
            let mut tasks = plane.view().list::<Task>(&scope()).collect::<Vec<_>>();
            tasks.retain(|task| arn.ends_with(task.instance.as_str()));
            tasks.iter().any(|task| task.phase != Phase::Stopped)
        });
        let request = requests::DeregisterContainerInstanceRequest {
            cluster: Some(self.nodes[node].cluster.clone()),
            container_instance: Some(arn),
            force: Some(force),
        };
        let out = self
            .call(|plane| ready(plane.ecs.deregister_container_instance(&plane.root(), request)));
        if let Answer::Given(_) = out {
            if busy && !force {
                self.fail(&format!("node {node} was taken out with its tasks, and not by force"));
            }
            self.count("a machine was taken out");
            self.note(&format!("node {node} is taken out of its cluster, by force: {force}"));
        }
    }

    /// A cluster is deleted, perhaps after its machines were taken out.
    fn delete_cluster(&mut self) {
        if self.rng.one_in(2) {
            let in_it = |node: &crate::node::Node| node.cluster == CLUSTER;
            if let Some(node) = self.nodes.iter().position(in_it) {
                self.take_out(node, true);
            }
        }
        let cluster = Some(CLUSTER.to_owned());
        let busy = self.plane.as_ref().is_some_and(|plane| {
            let view = plane.view();
            let tasks = view.list::<Task>(&scope());
            let machines = view.list::<ContainerInstance>(&scope());
            tasks.filter(|it| it.phase != Phase::Stopped).any(|it| it.cluster.as_str() == CLUSTER)
                || machines
                    .filter(|it| it.status != InstanceStatus::Inactive)
                    .any(|it| it.cluster.as_str() == CLUSTER)
        });
        let request = requests::DeleteClusterRequest { cluster };
        let answer = self.call(|plane| ready(plane.ecs.delete_cluster(&plane.root(), request)));
        match answer {
            Answer::Given(_) if busy => self.fail("a cluster was deleted that was in use"),
            Answer::Given(_) => {
                self.count("a cluster was deleted");
                self.note("the cluster is deleted");
            }
            Answer::Refused(_) | Answer::None => {}
        }
    }

    /// A definition makes place for another, whatever runs of it.
    fn replace_definition(&mut self) {
        let family = self.rng.pick(&FAMILIES).copied().unwrap_or("web");
        let newest = self.plane.as_ref().and_then(|plane| {
            let all = plane.view().list::<Definition>(&scope()).collect::<Vec<_>>();
            let of_family = all.iter().filter(|it| it.family.as_str() == family);
            of_family.map(|it| it.revision).max()
        });
        let Some(newest) = newest else { return };
        let request = definition(family);
        let made =
            self.call(|plane| ready(plane.ecs.register_task_definition(&plane.root(), request)));
        if matches!(made, Answer::Given(_)) {
            let request = requests::DeregisterTaskDefinitionRequest {
                task_definition: Some(format!("{family}:{newest}")),
            };
            let gone = self
                .call(|plane| ready(plane.ecs.deregister_task_definition(&plane.root(), request)));
            if matches!(gone, Answer::Given(_)) {
                self.count("a definition was replaced");
            }
        }
    }

    /// Those that were replaced are deleted, which waits for their tasks.
    fn delete_definitions(&mut self) {
        let Some(plane) = &self.plane else { return };
        let all = plane.view().list::<Definition>(&scope()).collect::<Vec<_>>();
        let replaced = all.iter().filter(|it| it.deregistered_at.is_some());
        let names: Vec<String> =
            replaced.map(|it| format!("{}:{}", it.family, it.revision)).take(10).collect();
        if names.is_empty() {
            return;
        }
        let request = requests::DeleteTaskDefinitionsRequest { task_definitions: Some(names) };
        let gone =
            self.call(|plane| ready(plane.ecs.delete_task_definitions(&plane.root(), request)));
        if matches!(gone, Answer::Given(_)) {
            self.count("definitions were deleted");
        }
    }

    /// Only what services start can be protected, and there are none.
    fn protect(&mut self) {
        let tasks: Vec<_> =
            self.users.promised.iter().map(|(task, home)| (task.clone(), home.clone())).collect();
        let Some((task, cluster)) = self.rng.pick(&tasks).cloned() else { return };
        let request = requests::UpdateTaskProtectionRequest {
            cluster: Some(cluster),
            tasks: Some(vec![task]),
            protection_enabled: Some(!self.rng.one_in(3)),
            expires_in_minutes: None,
        };
        let asked =
            self.call(|plane| ready(plane.ecs.update_task_protection(&plane.root(), request)));
        if let Answer::Given(given) = asked
            && given.protected_tasks.is_some_and(|tasks| !tasks.is_empty())
        {
            self.fail("a task was protected that no service started");
        }
    }

    /// An interface is made, attached, detached or deleted, as it stands, and may get or
    /// lose an address besides.
    fn handle_eni(&mut self) {
        let Some(plane) = &self.plane else { return };
        let view = plane.view();
        let own: Vec<_> = view.list::<Eni>(&scope()).filter(|eni| eni.is_users()).collect();
        let picked = self.rng.pick(&own).cloned();
        let Some(eni) = picked.filter(|_| own.len() >= MOST_ENIS || self.rng.one_in(2)) else {
            if own.len() < MOST_ENIS {
                self.make_eni();
            }
            return;
        };
        let id = Some(eni.net.id.to_string());
        if self.rng.one_in(2) && matches!(self.readdress(&eni, &own), Answer::Given(())) {
            self.count("an interface got or lost an address");
        }
        let what;
        let answer: Answer<()> = if let Some(attachment) = &eni.attachment {
            what = "an interface was detached";
            let request = shapes::DetachNetworkInterfaceRequest {
                attachment_id: Some(attachment.id.to_string()),
                ..Default::default()
            };
            self.call(|plane| {
                ready(plane.ec2.detach_network_interface(&plane.root(), request)).map(drop)
            })
        } else if self.rng.one_in(4) {
            what = "an interface was deleted";
            let request = shapes::DeleteNetworkInterfaceRequest {
                network_interface_id: id,
                ..Default::default()
            };
            self.call(|plane| {
                ready(plane.ec2.delete_network_interface(&plane.root(), request)).map(drop)
            })
        } else {
            what = "an interface was attached";
            // The first machine stands in all zones, the others in one each.
            let node = if self.rng.one_in(2) { 0 } else { self.rng.index(self.nodes.len()) };
            let request = shapes::AttachNetworkInterfaceRequest {
                network_interface_id: id,
                instance_id: Some(self.nodes[node].id.to_string()),
                device_index: Some(i32::try_from(self.rng.between(1, 6)).unwrap_or(1)),
                ..Default::default()
            };
            self.call(|plane| {
                ready(plane.ec2.attach_network_interface(&plane.root(), request)).map(drop)
            })
        };
        match answer {
            Answer::Given(()) => self.count(what),
            Answer::Refused(Fault { code, .. }) => self.count(&format!("an interface: {code}")),
            Answer::None => {}
        }
    }

    /// The interface gets an address, perhaps another's, or loses its last one.
    fn readdress(&mut self, eni: &Eni, all: &[Arc<Eni>]) -> Answer<()> {
        let network_interface_id = Some(eni.net.id.to_string());
        let last = eni.net.secondary_ipv4.last().map(ToString::to_string);
        if let Some(last) = last.filter(|_| self.rng.one_in(2)) {
            let request = shapes::UnassignPrivateIpAddressesRequest {
                network_interface_id,
                private_ip_addresses: Some(vec![last]),
                ..Default::default()
            };
            return self.call(|plane| {
                ready(plane.ec2.unassign_private_ip_addresses(&plane.root(), request)).map(drop)
            });
        }
        let others: Vec<String> = all
            .iter()
            .filter(|other| other.net.subnet == eni.net.subnet)
            .flat_map(|other| other.net.ipv4_addresses().map(|address| address.to_string()))
            .collect();
        let named = self.rng.pick(&others).cloned().filter(|_| self.rng.one_in(2));
        let request = shapes::AssignPrivateIpAddressesRequest {
            network_interface_id,
            allow_reassignment: Some(self.rng.one_in(2)),
            secondary_private_ip_address_count: named.is_none().then_some(1),
            private_ip_addresses: named.map(|address| vec![address]),
            ..Default::default()
        };
        self.call(|plane| {
            ready(plane.ec2.assign_private_ip_addresses(&plane.root(), request)).map(drop)
        })
    }

    fn make_eni(&mut self) {
        let subnet = self.rng.pick(&self.users.subnets).cloned();
        let request =
            shapes::CreateNetworkInterfaceRequest { subnet_id: subnet, ..Default::default() };
        let made =
            self.call(|plane| ready(plane.ec2.create_network_interface(&plane.root(), request)));
        if let Answer::Refused(fault) = made {
            self.fail(&format!("an interface cannot be made: {fault:?}"));
        }
    }

    /// How many interfaces stand on the machine that users attached.
    pub(crate) fn by_hand(view: &store::View, instance: &Instance) -> usize {
        let all = view.list::<Eni>(&scope()).filter(|eni| eni.is_users());
        all.filter(|eni| eni.attachment.as_ref().is_some_and(|at| at.instance == instance.id))
            .count()
    }
}
