//! What must hold: safety at every step, rest once the weather is fair.

use crate::births::Takers;
use crate::machines::short;
use crate::plane::{Plane, ready, scope};
use crate::roles::{Issued, without_credentials};
use crate::world::World;
use ec2::records::{AttachmentStatus, Eni, Instance};
use ecs::fleets::Fleets;
use ecs::records::{Cluster, ContainerInstance, Definition, InstanceStatus, StopCode, Task};
use ident::Generation;
use net::plan::{CardPlan, EniUser};
use sched::lifecycle::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{StoreError, View};
use wire::ecs::{self as shapes, Api as _};

/// How long a stopped task is kept at least. Written here again on purpose.
const KEPT_MILLIS: i64 = 60 * 60 * 1000;

/// How many interfaces beside its own a machine of this kind can have.
const PLACES: usize = 2;

/// How often a task may be seen on an instance that is gone before it stops: the
/// controllers have their turn between two looks, if they are not neglected.
const LOOKS: u32 = 40;

/// What was seen before, by which what is seen now is judged.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Every task as it was seen last, by its id.
    tasks: BTreeMap<String, Arc<Task>>,
    reaped: BTreeSet<String>,
    /// How often tasks were seen that had lost their instance.
    bereft: BTreeMap<String, u32>,
    /// Which container instances took tasks.
    pub(crate) takers: Takers,
    /// The newest plan that was made for each node.
    generations: BTreeMap<usize, Generation>,
    /// What happened in it, so that a world in which nothing does is noticed.
    pub(crate) tally: BTreeMap<String, u32>,
    /// The credentials that agents were told.
    pub(crate) issued: Issued,
}

impl Oracle {
    /// Whether a task, by id or ARN, was there long enough and is gone.
    pub(crate) fn was_reaped(&self, task: &str) -> bool {
        self.reaped.contains(task.rsplit('/').next().unwrap_or_default())
    }

    /// A task as it was seen last, if it was there then.
    pub(crate) fn seen(&self, id: &str) -> Option<&Task> {
        self.tasks.get(id).map(AsRef::as_ref)
    }

    /// Whether a task was seen before.
    pub(crate) fn knows(&self, task: &Task) -> bool {
        self.tasks.contains_key(task.id.as_str())
    }

    /// Notes a task that was not seen before.
    pub(crate) fn meet(&mut self, task: Arc<Task>) {
        self.tasks.entry(task.id.to_string()).or_insert(task);
    }
}

impl World {
    /// Holds what is against what must be.
    pub(crate) fn check(&mut self) {
        let Some(plane) = &self.plane else { return };
        if plane.is_dead() {
            return;
        }
        self.welcome();
        let Some(plane) = &self.plane else { return };
        let view = plane.view();
        let problem = rooms(plane, &view)
            .or_else(|| fleets(plane))
            .or_else(|| interfaces(&view))
            .or_else(|| self.grounds(&view))
            .or_else(|| definitions(&view))
            .or_else(|| Self::orphaned(&view))
            .or_else(|| self.promises(&view));
        let problem = problem.or_else(|| self.losses(&view));
        let problem = problem.or_else(|| self.credentials(&view));
        if let Some(problem) = problem.or_else(|| self.histories(&view)) {
            self.fail(&problem);
        }
    }

    /// A plan is made of what there is, and none is older than one before it.
    pub(crate) fn check_plan(&mut self, node: usize, view: &View, plan: &CardPlan) {
        let before = self.oracle.generations.insert(node, plan.generation);
        if before.is_some_and(|before| plan.generation < before) {
            self.fail(&format!("node {node} gets {:?} after {before:?}", plan.generation));
        }
        for eni in plan.vpcs.iter().flat_map(|vpc| &vpc.enis) {
            let known = view.get::<Eni>(&scope(), eni.eni.as_str());
            if known.is_none_or(|known| {
                !known.net.addresses().eq(eni.addresses()) || known.net.mac != eni.mac
            }) {
                self.fail(&format!("node {node} is to have {}, which is not on record", eni.eni));
            }
        }
    }

    /// A task does not outlive its container instance.
    fn losses(&mut self, view: &View) -> Option<String> {
        let gone = |task: &Task| {
            let host = view.get::<ContainerInstance>(&scope(), task.instance.as_str());
            host.is_none_or(|host| host.status == InstanceStatus::Inactive)
        };
        let tasks = view.list::<Task>(&scope());
        let bereft = tasks.filter(|task| task.phase < Phase::Deprovisioning && gone(task));
        let before = std::mem::take(&mut self.oracle.bereft);
        for task in bereft {
            let id = task.id.to_string();
            let looks = before.get(&id).map_or(1, |looks| looks + 1);
            if looks > LOOKS {
                return Some(format!("{id} is {:?}, and its instance is gone", task.phase));
            }
            self.oracle.bereft.insert(id, looks);
        }
        None
    }

    /// A life only moves forward, and what was said of its end stays.
    fn histories(&mut self, view: &View) -> Option<String> {
        let now = self.clock_now();
        let mut tasks = BTreeMap::new();
        for task in view.list::<Task>(&scope()) {
            let id = task.id.to_string();
            if self.oracle.reaped.contains(&id) {
                return Some(format!("{id} is back from the dead"));
            }
            if let Some(before) = self.oracle.tasks.remove(&id) {
                if task.phase < before.phase {
                    return Some(format!("{id} went from {:?} to {:?}", before.phase, task.phase));
                }
                if before.phase == Phase::Stopped
                    && task != before
                    && *task != without_credentials(&before)
                {
                    return Some(format!(
                        "{id} was STOPPED and changed:{}",
                        changes(&before, &task)
                    ));
                }
                if before.stop.is_some() && task.stop != before.stop {
                    return Some(format!("{id} ends for another reason: {:?}", task.stop));
                }
                let fixed = |task: &Task| (task.interface.clone(), task.instance.clone());
                if fixed(&task) != fixed(&before) {
                    return Some(format!("{id} has moved"));
                }
                if task.phase != before.phase {
                    self.trace_phase(&task);
                }
                if before.stop.is_none()
                    && let Some(stop) = &task.stop
                {
                    let code = stop.code.map_or("none", |code| code.as_str());
                    self.count(&format!("stop code {code}"));
                }
            }
            if task.phase >= Phase::Deactivating && task.stop.is_none() {
                return Some(format!("{id} stops for no reason"));
            }
            tasks.insert(id, task);
        }
        // Those that are left were there and are not.
        let gone = std::mem::replace(&mut self.oracle.tasks, tasks);
        for (id, before) in gone {
            let age = before.times.stopped.map(|at| now.0 - at.0);
            if before.phase != Phase::Stopped || age.is_none_or(|age| age < KEPT_MILLIS) {
                return Some(format!("{id} is lost, and was {:?}", before.phase));
            }
            self.oracle.reaped.insert(id);
        }
        None
    }

    /// What happened so far, and how often.
    pub fn tally(&self) -> &BTreeMap<String, u32> {
        &self.oracle.tally
    }

    pub(crate) fn count(&mut self, what: &str) {
        *self.oracle.tally.entry(what.to_owned()).or_default() += 1;
    }

    fn trace_phase(&mut self, task: &Task) {
        self.count(task.phase.as_str());
        let what = format!("{} is {}", short(task.id.as_str()), task.phase.as_str());
        self.note(&what);
    }

    /// What was acknowledged is there.
    fn promises(&self, view: &View) -> Option<String> {
        self.users.promised.keys().find_map(|arn| {
            let id = arn.rsplit('/').next().unwrap_or_default();
            let lost = view.get::<Task>(&scope(), id).is_none()
                && !self.oracle.was_reaped(id)
                // Reaped in this very step, which is judged elsewhere.
                && !self.oracle.tasks.contains_key(id);
            lost.then(|| format!("{arn} was promised and is lost"))
        })
    }

    /// What is on the machines: addresses, and containers.
    fn grounds(&self, view: &View) -> Option<String> {
        let mut addresses = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for (id, (vpc, eni)) in &node.kernel {
                // Else its address is free for others, who may well be slow to take it.
                if view.get::<Eni>(&scope(), id.as_str()).is_none() {
                    return Some(format!("{id} is on node {number} and not on record"));
                }
                // A secondary address is free at once when it is taken away.
                if let Some(other) = addresses.insert((vpc, eni.ipv4), id) {
                    return Some(format!("{id} and {other} both have {:?} on nodes", eni.ipv4));
                }
            }
            if let Some((id, times)) = node.runtime.starts.iter().find(|(_, times)| **times > 1) {
                return Some(format!("{id} was started {times} times"));
            }
            for (id, container) in node.runtime.running() {
                if let Some(other) = hosts.insert(id, number) {
                    return Some(format!("{id} runs on nodes {number} and {other}"));
                }
                let Some(eni) = &container.eni else { continue };
                // What an agent that forgot everything ran is gone with it, as far
                // as anybody can know; so is what one ran that is away.
                let owner = view.get::<Task>(&scope(), short_of(&container.task));
                let stop = owner.as_ref().and_then(|task| task.stop.as_ref());
                if stop.is_some_and(|stop| stop.code == Some(StopCode::TerminationNotice)) {
                    continue;
                }
                let host = owner.and_then(|task| {
                    view.get::<ContainerInstance>(&scope(), task.instance.as_str())
                });
                if host.is_none_or(|host| host.status == InstanceStatus::Inactive) {
                    continue;
                }
                let record = view.get::<Eni>(&scope(), eni);
                let given_back = record
                    .is_none_or(|e| e.attachment_status() == Some(AttachmentStatus::Detaching));
                if given_back {
                    return Some(format!("{id} runs, but its interface {eni} was given back"));
                }
            }
        }
        None
    }

    /// Why things are not at rest yet, if they are not.
    pub(crate) fn unrest(&self) -> Option<String> {
        let Some(plane) = &self.plane else { return Some("there is no control plane".to_owned()) };
        let view = plane.view();
        if let Some(open) = self.users.orders.iter().position(crate::users::Order::is_open) {
            return Some(format!("order {open} is not answered"));
        }
        let tasks: Vec<Arc<Task>> = view.list::<Task>(&scope()).collect();
        for task in &tasks {
            let arn = task.arn().to_string();
            let dismissed = self.users.dismissed.contains(&arn);
            match task.phase {
                Phase::Running if !dismissed => {}
                Phase::Stopped => {}
                Phase::Running
                | Phase::Provisioning
                | Phase::Pending
                | Phase::Activating
                | Phase::Deactivating
                | Phase::Stopping
                | Phase::Deprovisioning => {
                    return Some(format!("{} is {:?}", short(&arn), task.phase));
                }
            }
        }
        for eni in view.list::<Eni>(&scope()).filter(|eni| eni.requester_managed) {
            let owned = |task: &&Arc<Task>| {
                task.phase == Phase::Running
                    && task.interface.as_ref().is_some_and(|it| it.eni == eni.net.id)
            };
            if !tasks.iter().any(|task| owned(&task)) {
                return Some(format!("{} is nobody's", eni.net.id));
            }
        }
        let lingering = self.lingering(&view);
        lingering
            .or_else(|| (0..self.nodes.len()).find_map(|node| self.unrest_on(node, &view, &tasks)))
    }

    fn unrest_on(&self, number: usize, view: &View, tasks: &[Arc<Task>]) -> Option<String> {
        let node = &self.nodes[number];
        let arn = node.agent.disk.instance_arn.clone().unwrap_or_default();
        let id = arn.rsplit('/').next().unwrap_or_default();
        let Some(record) = view.get::<ContainerInstance>(&scope(), id) else {
            return Some(format!("node {number} is not registered"));
        };
        if !record.connected() || node.agent.session.is_none() {
            return Some(format!("agent {number} is not connected"));
        }
        let here: Vec<&Arc<Task>> = tasks
            .iter()
            .filter(|task| task.phase == Phase::Running && task.instance == record.id)
            .collect();
        let wanted: BTreeSet<String> =
            here.iter().filter_map(|task| Some(task.interface.as_ref()?.eni.to_string())).collect();
        let by_hand = |id: &str| view.get::<Eni>(&scope(), id).is_some_and(|eni| eni.is_users());
        let present: BTreeSet<String> = node
            .kernel
            .values()
            .filter(|(_, eni)| eni.user == EniUser::Task && !by_hand(eni.eni.as_str()))
            .map(|(_, eni)| eni.eni.to_string())
            .collect();
        if wanted != present {
            return Some(format!("node {number} has {present:?} instead of {wanted:?}"));
        }
        let at = |eni: &Eni| eni.attachment.as_ref().is_some_and(|it| it.instance == node.id);
        let others: Vec<Arc<Eni>> =
            view.list::<Eni>(&scope()).filter(|eni| eni.is_users() && at(eni)).collect();
        // One that the kernel refuses is wanted all the same, and shown to be refused.
        let made = others.iter().filter(|eni| eni.failure().is_none());
        let made: BTreeSet<&str> = made.map(|eni| eni.net.id.as_str()).collect();
        let found: BTreeSet<&str> = node.kernel.keys().map(ident::EniId::as_str).collect();
        let fit = made.iter().all(|id| found.contains(id))
            && others
                .iter()
                .all(|eni| eni.attachment_status() != Some(AttachmentStatus::Detaching))
            && found.len() == present.len() + 1 + made.len();
        if !fit {
            return Some(format!(
                "node {number} has {found:?}, of which {present:?} are of tasks and {made:?} of users"
            ));
        }
        let outdated = node.kernel.values().find(|(_, planned)| {
            let known = view.get::<Eni>(&scope(), planned.eni.as_str());
            known.is_none_or(|known| !known.net.addresses().eq(planned.addresses()))
        });
        if let Some((_, planned)) = outdated {
            let (eni, addresses) = (&planned.eni, planned.addresses().collect::<Vec<_>>());
            return Some(format!("node {number} has {eni} with {addresses:?}"));
        }
        for (container, it) in &node.runtime.containers {
            if !here.iter().any(|task| task.arn().to_string() == it.task) {
                let state = it.state;
                let known = node.agent.engine.state().tasks.values();
                let known = known.flat_map(|t| &t.containers).find(|c| c.runtime_id == *container);
                return Some(format!("{container} is left of a task: {state:?}, {known:?}"));
            }
        }
        if let Some(why) = here.iter().find_map(|task| self.powerless(number, task)) {
            return Some(why);
        }
        for task in here {
            let runs = node.runtime.running().any(|(_, c)| c.task == task.arn().to_string());
            if !runs {
                return Some(format!("{} is RUNNING and nothing of it runs", task.id));
            }
        }
        let spare = node.runtime.networks.len();
        if spare != wanted.len() {
            return Some(format!("node {number} has {spare} namespaces"));
        }
        None
    }
}

/// The id in an ARN.
fn short_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// What distinguishes two tasks, in words.
fn changes(before: &Task, after: &Task) -> String {
    let (before, after) = (format!("{before:#?}"), format!("{after:#?}"));
    let lines: Vec<&str> = before.lines().collect();
    let new = after.lines().filter(|line| !lines.contains(line));
    new.fold(String::new(), |text, line| text + "\n" + line)
}

/// What placement goes by is what the records say.
fn fleets(plane: &Plane) -> Option<String> {
    let compared = plane.store().transact(|txn| {
        let anew = txn.derived_anew::<Fleets>(&scope());
        let kept = txn.derived::<Fleets>(&scope());
        let problem = || format!("placement sees {kept:?}, and the records say {anew:?}");
        Ok::<_, StoreError>((*kept != anew).then(problem))
    });
    ready(compared).unwrap_or_else(|error| Some(format!("the state cannot be read: {error}")))
}

/// Capacity adds up, as anybody can see over the API.
fn rooms(plane: &Plane, view: &View) -> Option<String> {
    for cluster in ["default", "blue"] {
        let instances: Vec<Arc<ContainerInstance>> = view
            .list::<ContainerInstance>(&scope())
            .filter(|instance| instance.cluster.as_str() == cluster)
            .collect();
        let there = view.get::<Cluster>(&scope(), cluster);
        if instances.is_empty() || there.is_none_or(|there| there.deleted_at.is_some()) {
            continue;
        }
        let arns = instances.iter().map(|instance| instance.arn().to_string()).collect();
        let request = shapes::DescribeContainerInstancesRequest {
            cluster: Some(cluster.to_owned()),
            container_instances: Some(arns),
            include: None,
        };
        let shown = ready(plane.ecs.describe_container_instances(&plane.root(), request));
        let shown = match shown {
            Ok(shown) => shown.container_instances.unwrap_or_default(),
            Err(fault) => return Some(format!("the instances cannot be seen: {fault:?}")),
        };
        for (instance, shown) in instances.iter().zip(shown) {
            if let Some(problem) = room(view, instance, &shown) {
                return Some(problem);
            }
        }
    }
    None
}

fn room(
    view: &View,
    instance: &ContainerInstance,
    shown: &shapes::ContainerInstance,
) -> Option<String> {
    if shown.container_instance_arn != Some(instance.arn().to_string()) {
        return Some(format!("{} is shown as another", instance.id));
    }
    let tasks = view.list::<Task>(&scope());
    let tenants: Vec<Arc<Task>> =
        tasks.filter(|task| task.instance == instance.id && task.phase < Phase::Stopped).collect();
    let of = |list: &Option<Vec<shapes::Resource>>, name: &str| {
        let found = list.iter().flatten().find(|it| it.name.as_deref() == Some(name));
        found.and_then(|it| it.integer_value).map_or(0, i64::from)
    };
    let taken = [
        ("CPU", tenants.iter().map(|task| task.need.cpu_units).sum::<i64>()),
        ("MEMORY", tenants.iter().map(|task| task.need.memory_mib).sum::<i64>()),
    ];
    for (name, taken) in taken {
        let whole = of(&shown.registered_resources, name);
        let left = of(&shown.remaining_resources, name);
        if left != whole - taken || left < 0 {
            return Some(format!("{}: {name} {whole} - {taken} is shown as {left}", instance.id));
        }
    }
    if instance.status == InstanceStatus::Inactive {
        return None;
    }
    let interfaces: Vec<_> = tenants.iter().filter_map(|task| task.interface.as_ref()).collect();
    // An interface that is gone has no place any more, though its task may be there.
    let kept = interfaces.iter().filter(|it| view.get::<Eni>(&scope(), it.eni.as_str()).is_some());
    let machine = instance.ec2_instance.as_ref();
    let machine = machine.and_then(|id| view.get::<Instance>(&scope(), id.as_str()));
    let by_hand = machine.map_or(0, |machine| World::by_hand(view, &machine));
    let (all, kept) = (interfaces.len(), kept.count());
    if all > PLACES || kept + by_hand > PLACES {
        return Some(format!(
            "{} has {all} tasks with interfaces, {kept} of which are there, and {by_hand} by hand",
            instance.id
        ));
    }
    None
}

/// What a task is made of is there for as long as it may be needed.
fn definitions(view: &View) -> Option<String> {
    let mut tasks = view.list::<Task>(&scope()).filter(|task| task.phase < Phase::Stopped);
    let bereft = tasks.find(|task| {
        let id = Definition::id_of(&task.family, task.revision);
        view.get::<Definition>(&scope(), &id).is_none()
    })?;
    Some(format!("{} is there, and {}:{} is not", bereft.id, bereft.family, bereft.revision))
}

/// Every interface has its own addresses, and its own task.
fn interfaces(view: &View) -> Option<String> {
    let (mut addresses, mut macs) = (BTreeMap::new(), BTreeMap::new());
    for eni in view.list::<Eni>(&scope()) {
        let id = eni.net.id.clone();
        for address in eni.net.ipv4_addresses() {
            if let Some(other) = addresses.insert((eni.net.vpc.clone(), address), id.clone()) {
                return Some(format!("{id} and {other} have the address {address}"));
            }
        }
        if let Some(other) = macs.insert(eni.net.mac, id.clone()) {
            return Some(format!("{id} and {other} have the hardware address {}", eni.net.mac));
        }
        if !eni.requester_managed {
            continue;
        }
        let users = view.list::<Task>(&scope()).filter(|task| {
            task.phase < Phase::Stopped
                && task.interface.as_ref().is_some_and(|it| it.eni == eni.net.id)
        });
        match users.count() {
            1 => {}
            0 if eni.attachment_status() == Some(AttachmentStatus::Detaching) => {}
            count => return Some(format!("{id} has {count} tasks")),
        }
    }
    None
}
