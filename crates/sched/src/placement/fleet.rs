//! The machines of a cluster, arranged so that placement need not look at all.
//!
//! Machines of a *class* are the same in all that most demands ask for: whether
//! they take tasks, where they stand, their attributes. A class is judged as one.
//! Within it, machines lie in a tree for each thing that strategies go by, and
//! those with tasks of a group in one tree for each group.

use super::tree::{Numbers, Tree};
use super::{Candidate, Host};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Ordering;
use ident::ContainerInstanceId;
use rpds::RedBlackTreeMapSync;

/// The attribute of a machine that has a trunk interface: that interface.
pub const TRUNK_ID: &str = "ecs.awsvpc-trunk-id";

/// Attributes that each machine has a value of its own for. They make no class,
/// or each machine would be one.
const PARTICULAR: &[&str] = &[TRUNK_ID];

/// Whether machines of one class may differ in this attribute.
pub(super) fn is_particular(attribute: &str) -> bool {
    PARTICULAR.contains(&attribute)
}

/// Whether the answer of `expression` is the same for all machines of a class.
pub(super) fn is_general(expression: &crate::query::Expression) -> bool {
    expression.is_general(PARTICULAR)
}

/// See the module. A clone costs next to nothing and shares all that is the same,
/// so that a fleet can be kept with each state of a store.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    machines: RedBlackTreeMapSync<ContainerInstanceId, Arc<Candidate>>,
    classes: RedBlackTreeMapSync<Alike, Class>,
}

/// Some machine of a class, equal to any other of it.
#[derive(Clone, Debug)]
pub(super) struct Alike(pub(super) Arc<Host>);

/// What trees are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The least loaded first, as the default of ECS wants it.
    Load,
    /// Those with the fewest CPU units left first.
    Cpu,
    /// Those with the least memory left first.
    Memory,
    /// By chance.
    Tie,
}

impl Order {
    pub(super) fn numbers(self, candidate: &Candidate) -> Numbers {
        match self {
            Self::Load => [
                candidate.load(),
                i64::from(candidate.tasks),
                candidate.room.memory_mib.saturating_neg(),
            ],
            Self::Cpu => [candidate.room.cpu_units, 0, 0],
            Self::Memory => [candidate.room.memory_mib, 0, 0],
            Self::Tie => [0; 3],
        }
    }
}

/// The machines of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    by_load: Tree,
    by_cpu: Tree,
    by_memory: Tree,
    by_tie: Tree,
    groups: RedBlackTreeMapSync<String, Kin>,
}

/// The machines of a class that have tasks of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Kin {
    /// Those with the fewest first.
    pub(super) tree: Tree,
    /// How many of the tasks are in which zone.
    pub(super) zones: BTreeMap<String, u32>,
}

impl Kin {
    /// What its tree is ordered by.
    pub(super) fn numbers(candidate: &Candidate, group: &str) -> Numbers {
        [i64::from(candidate.kin(group)), 0, 0]
    }
}

impl Fleet {
    /// Whether there are no machines.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// The machines, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.machines.values()
    }

    /// The machine of this id.
    pub fn get(&self, id: &ContainerInstanceId) -> Option<&Arc<Candidate>> {
        self.machines.get(id)
    }

    /// Takes a machine in, or in the place of what was known of it before.
    pub fn put(&mut self, new: Arc<Candidate>) {
        let old = self.machines.get(&new.host.id).cloned();
        let alike = Alike(Arc::clone(&new.host));
        match old {
            Some(old) if Alike(Arc::clone(&old.host)) == alike => {
                if let Some(class) = self.classes.get_mut(&alike) {
                    class.replace(&old, &new);
                }
            }
            old => {
                if let Some(old) = old {
                    self.take_out(&old);
                }
                let mut class = self.classes.get(&alike).cloned().unwrap_or_default();
                class.insert(&new);
                self.classes.insert_mut(alike, class);
            }
        }
        self.machines.insert_mut(new.host.id.clone(), new);
    }

    /// Forgets a machine.
    pub fn remove(&mut self, id: &ContainerInstanceId) {
        if let Some(old) = self.machines.get(id).cloned() {
            self.take_out(&old);
            self.machines.remove_mut(id);
        }
    }

    fn take_out(&mut self, old: &Candidate) {
        let alike = Alike(Arc::clone(&old.host));
        let Some(class) = self.classes.get_mut(&alike) else { return };
        class.remove(old);
        if class.len() == 0 {
            self.classes.remove_mut(&alike);
        }
    }

    /// The classes, each with one of its machines.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&Alike, &Class)> {
        self.classes.iter()
    }
}

impl FromIterator<Arc<Candidate>> for Fleet {
    fn from_iter<I: IntoIterator<Item = Arc<Candidate>>>(machines: I) -> Self {
        let mut fleet = Self::default();
        machines.into_iter().for_each(|machine| fleet.put(machine));
        fleet
    }
}

/// Two fleets are equal if their machines are: the rest follows.
impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        self.machines == other.machines
    }
}

impl Class {
    fn len(&self) -> u64 {
        self.by_tie.len()
    }

    pub(super) fn tree(&self, order: Order) -> &Tree {
        match order {
            Order::Load => &self.by_load,
            Order::Cpu => &self.by_cpu,
            Order::Memory => &self.by_memory,
            Order::Tie => &self.by_tie,
        }
    }

    /// Those of its machines that have tasks of `group`.
    pub(super) fn kin(&self, group: &str) -> Option<&Kin> {
        self.groups.get(group)
    }

    fn trees(&mut self) -> [(Order, &mut Tree); 4] {
        [
            (Order::Load, &mut self.by_load),
            (Order::Cpu, &mut self.by_cpu),
            (Order::Memory, &mut self.by_memory),
            (Order::Tie, &mut self.by_tie),
        ]
    }

    fn insert(&mut self, new: &Arc<Candidate>) {
        for (order, tree) in self.trees() {
            tree.insert(order.numbers(new), Arc::clone(new));
        }
        for group in new.groups() {
            self.join(group, new);
        }
    }

    fn remove(&mut self, old: &Candidate) {
        for (order, tree) in self.trees() {
            tree.remove(&order.numbers(old), old);
        }
        for group in old.groups() {
            self.leave(group, old);
        }
    }

    /// Puts `new` in the place of `old`, which is the same machine.
    fn replace(&mut self, old: &Candidate, new: &Arc<Candidate>) {
        for (order, tree) in self.trees() {
            tree.replace((&order.numbers(old), old), (&order.numbers(new), new));
        }
        let same = |group: &str| old.kin_by_zone(group).eq(new.kin_by_zone(group));
        for group in old.groups() {
            match self.groups.get_mut(group) {
                Some(kin) if same(group) => {
                    let numbers = Kin::numbers(new, group);
                    kin.tree.replace((&numbers, old), (&numbers, new));
                }
                Some(_) | None => self.leave(group, old),
            }
        }
        for group in new.groups().filter(|group| !same(group)) {
            self.join(group, new);
        }
    }

    fn join(&mut self, group: &str, new: &Arc<Candidate>) {
        let mut kin = self.groups.get(group).cloned().unwrap_or_default();
        kin.tree.insert(Kin::numbers(new, group), Arc::clone(new));
        for (zone, more) in new.kin_by_zone(group) {
            let count = kin.zones.entry(zone.to_owned()).or_default();
            *count = count.saturating_add(more);
        }
        self.groups.insert_mut(group.to_owned(), kin);
    }

    fn leave(&mut self, group: &str, old: &Candidate) {
        let Some(kin) = self.groups.get_mut(group) else { return };
        kin.tree.remove(&Kin::numbers(old, group), old);
        for (zone, fewer) in old.kin_by_zone(group) {
            if let Some(count) = kin.zones.get_mut(zone) {
                *count = count.saturating_sub(fewer);
            }
        }
        kin.zones.retain(|_, count| *count > 0);
        if kin.tree.len() == 0 {
            self.groups.remove_mut(group);
        }
    }
}

impl Alike {
    fn facts(&self) -> (bool, bool, &[String], Option<&str>) {
        let host = &self.0;
        (host.active, host.connected, &host.zones, host.agent_version.as_deref())
    }

    fn attributes(&self) -> impl Iterator<Item = (&String, &Option<String>)> {
        self.0.attributes.iter().filter(|(name, _)| !is_particular(name))
    }
}

impl Ord for Alike {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.facts().cmp(&other.facts()).then_with(|| self.attributes().cmp(other.attributes()))
    }
}

impl PartialOrd for Alike {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Alike {}
