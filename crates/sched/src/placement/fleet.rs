//! The machines of a cluster, arranged so that placement need not look at all.
//!
//! Machines of a *class* are the same in all that most demands ask for: whether
//! they take tasks, where they stand, their attributes. A class is judged as one.
//! Within it, machines lie in a tree by chance. If any demand ever wants to know,
//! they lie also in one for each resource that they are packed by, and those with
//! tasks of a group in one for each group.

use super::tree::Tree;
use super::{Candidate, Host};
use super::{Demand, mix, strategy, text_hash};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Ordering;
use ident::ContainerInstanceId;

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

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// By the numbers of their ids.
    machines: BTreeMap<u128, Arc<Candidate>>,
    classes: BTreeMap<Alike, Class>,
    /// What the classes are arranged by.
    arranged: Arranged,
}

/// What machines have been arranged by for some demand.
#[derive(Clone, Debug, Default)]
struct Arranged {
    packed_by: BTreeSet<Order>,
    /// Whether by their tasks of each group.
    by_kin: bool,
}

/// Some machine of a class, equal to any other of it.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    /// Of all that is compared: classes have many attributes, mostly the same ones.
    hash: u64,
    pub(super) host: Arc<Host>,
}

/// What trees are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// By chance.
    Tie,
    /// Those with the fewest CPU units left first.
    Cpu,
    /// Those with the least memory left first.
    Memory,
}

impl Order {
    /// What a machine has in a tree of this order.
    pub(super) fn number(self, candidate: &Candidate) -> i64 {
        match self {
            Self::Tie => 0,
            Self::Cpu => candidate.room.cpu_units,
            Self::Memory => candidate.room.memory_mib,
        }
    }
}

/// The machines of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    by_tie: Tree,
    packed: BTreeMap<Order, Tree>,
    groups: BTreeMap<String, Kin>,
    /// Whether each group has its tree.
    by_kin: bool,
}

/// The machines of a class that have tasks of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Kin {
    /// Those with the fewest first; empty unless the class is arranged by kin.
    pub(super) tree: Tree,
    /// How many of the tasks are in which zone.
    pub(super) zones: BTreeMap<String, u32>,
}

impl Kin {
    /// What its tree is ordered by.
    pub(super) fn number(candidate: &Candidate, group: &str) -> i64 {
        i64::from(candidate.kin(group))
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
        self.machines.get(&id.number())
    }

    /// Prepares for demands that choose among machines as this one does. Without it,
    /// places are the same, and take time in the number of the machines.
    pub fn arrange(&mut self, demand: &Demand) {
        let order = strategy::order(demand);
        if order != Order::Tie && self.arranged.packed_by.insert(order) {
            self.classes.values_mut().for_each(|class| class.pack(order));
        }
        if strategy::minds_kin(demand) && !self.arranged.by_kin {
            self.arranged.by_kin = true;
            self.classes.values_mut().for_each(Class::sort_kin);
        }
    }

    /// Takes a machine in, or in the place of what was known of it before.
    pub fn put(&mut self, new: &Arc<Candidate>) {
        let old = self.machines.insert(new.host.id.number(), Arc::clone(new));
        match old {
            Some(old) if old.alike == new.alike => {
                if let Some(class) = self.classes.get_mut(&new.alike) {
                    class.replace(&old, new);
                }
            }
            old => {
                if let Some(old) = old {
                    self.take_out(&old);
                }
                let class = self.classes.entry(new.alike.clone());
                class.or_insert_with(|| Class::new(&self.arranged)).insert(new);
            }
        }
    }

    /// Forgets a machine.
    pub fn remove(&mut self, id: &ContainerInstanceId) {
        if let Some(old) = self.machines.remove(&id.number()) {
            self.take_out(&old);
        }
    }

    fn take_out(&mut self, old: &Candidate) {
        let Some(class) = self.classes.get_mut(&old.alike) else { return };
        class.remove(old);
        if class.len() == 0 {
            self.classes.remove(&old.alike);
        }
    }

    /// The class of a machine.
    pub(super) fn class(&self, alike: &Alike) -> Option<&Class> {
        self.classes.get(alike)
    }

    /// The classes, each with one of its machines.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&Alike, &Class)> {
        self.classes.iter()
    }
}

impl FromIterator<Arc<Candidate>> for Fleet {
    fn from_iter<I: IntoIterator<Item = Arc<Candidate>>>(machines: I) -> Self {
        let mut fleet = Self::default();
        machines.into_iter().for_each(|machine| fleet.put(&machine));
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
    fn new(arranged: &Arranged) -> Self {
        let empty = |order: &Order| (*order, Tree::default());
        let packed = arranged.packed_by.iter().map(empty).collect();
        Self { packed, by_kin: arranged.by_kin, ..Self::default() }
    }

    fn len(&self) -> u64 {
        self.by_tie.len()
    }

    /// Its machines in this order, or if it is not prepared for that, by chance.
    pub(super) fn tree(&self, order: Order) -> &Tree {
        self.packed.get(&order).unwrap_or(&self.by_tie)
    }

    /// Its machines by chance.
    pub(super) fn by_tie(&self) -> &Tree {
        &self.by_tie
    }

    /// Those of its machines that have tasks of `group`.
    pub(super) fn kin(&self, group: &str) -> Option<&Kin> {
        self.groups.get(group)
    }

    /// Whether it has trees of them.
    pub(super) fn by_kin(&self) -> bool {
        self.by_kin
    }

    fn sort_kin(&mut self) {
        self.by_kin = true;
        for machine in self.by_tie.iter() {
            for group in machine.groups() {
                if let Some(kin) = self.groups.get_mut(group) {
                    kin.tree.insert(Kin::number(machine, group), Arc::clone(machine));
                }
            }
        }
    }

    fn pack(&mut self, order: Order) {
        let mut tree = Tree::default();
        for machine in self.by_tie.iter() {
            tree.insert(order.number(machine), Arc::clone(machine));
        }
        self.packed.insert(order, tree);
    }

    fn trees(&mut self) -> impl Iterator<Item = (Order, &mut Tree)> {
        let packed = self.packed.iter_mut().map(|(order, tree)| (*order, tree));
        core::iter::once((Order::Tie, &mut self.by_tie)).chain(packed)
    }

    fn insert(&mut self, new: &Arc<Candidate>) {
        for (order, tree) in self.trees() {
            tree.insert(order.number(new), Arc::clone(new));
        }
        for group in new.groups() {
            self.join(group, new);
        }
    }

    fn remove(&mut self, old: &Candidate) {
        for (order, tree) in self.trees() {
            tree.remove(order.number(old), old);
        }
        for group in old.groups() {
            self.leave(group, old);
        }
    }

    /// Puts `new` in the place of `old`, which is the same machine.
    fn replace(&mut self, old: &Candidate, new: &Arc<Candidate>) {
        for (order, tree) in self.trees() {
            tree.replace((order.number(old), old), (order.number(new), new));
        }
        let same = |group: &str| old.kin_by_zone(group).eq(new.kin_by_zone(group));
        for group in old.groups() {
            match self.groups.get_mut(group) {
                Some(kin) if same(group) => {
                    if self.by_kin {
                        let number = Kin::number(new, group);
                        kin.tree.replace((number, old), (number, new));
                    }
                }
                Some(_) | None => self.leave(group, old),
            }
        }
        for group in new.groups().filter(|group| !same(group)) {
            self.join(group, new);
        }
    }

    fn join(&mut self, group: &str, new: &Arc<Candidate>) {
        let kin = match self.groups.get_mut(group) {
            Some(kin) => kin,
            None => self.groups.entry(group.to_owned()).or_default(),
        };
        if self.by_kin {
            kin.tree.insert(Kin::number(new, group), Arc::clone(new));
        }
        for (zone, more) in new.kin_by_zone(group) {
            let count = kin.zones.entry(zone.to_owned()).or_default();
            *count = count.saturating_add(more);
        }
    }

    fn leave(&mut self, group: &str, old: &Candidate) {
        let Some(kin) = self.groups.get_mut(group) else { return };
        if self.by_kin {
            kin.tree.remove(Kin::number(old, group), old);
        }
        for (zone, fewer) in old.kin_by_zone(group) {
            if let Some(count) = kin.zones.get_mut(zone) {
                *count = count.saturating_sub(fewer);
            }
        }
        kin.zones.retain(|_, count| *count > 0);
        if kin.zones.is_empty() {
            self.groups.remove(group);
        }
    }
}

impl Alike {
    pub(super) fn new(host: Arc<Host>) -> Self {
        let mut alike = Self { hash: 0, host };
        let (active, connected, zones, version) = alike.facts();
        let mut hash = mix(u64::from(active), u64::from(connected));
        // Each word between bounds, or "ab" and "c" would be "a" and "bc".
        let mut word =
            |text: Option<&str>| hash = mix(text_hash(text.unwrap_or_default(), hash), 1);
        for zone in zones {
            word(Some(zone));
        }
        word(version);
        for (name, value) in alike.attributes() {
            word(Some(name));
            word(value.as_deref());
        }
        alike.hash = hash;
        alike
    }

    fn facts(&self) -> (bool, bool, &[String], Option<&str>) {
        let host = &self.host;
        (host.active, host.connected, &host.zones, host.agent_version.as_deref())
    }

    fn attributes(&self) -> impl Iterator<Item = (&String, &Option<String>)> {
        self.host.attributes.iter().filter(|(name, _)| !is_particular(name))
    }
}

impl Ord for Alike {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.host, &other.host) {
            return Ordering::Equal;
        }
        (self.hash.cmp(&other.hash))
            .then_with(|| self.facts().cmp(&other.facts()))
            .then_with(|| self.attributes().cmp(other.attributes()))
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
