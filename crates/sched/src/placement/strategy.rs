//! What decides among the machines that will do.

use super::fleet::{Fleet, Order, is_particular};
use super::tree::Summary;
use super::{Candidate, Demand, Host, text_hash};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// The attribute that says which zone a machine stands in.
pub const ZONE: &str = "ecs.availability-zone";

/// A placement strategy of ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By chance.
    Random,
    /// Where the least is left.
    Binpack(Resource),
    /// Where the fewest tasks of the group are.
    Spread(Over),
}

/// What machines are packed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resource {
    Cpu,
    Memory,
}

/// What tasks are spread over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The machines themselves.
    Instances,
    /// The values of an attribute. Machines without it have a value of their own
    /// in common. The zone is the one that the task would be in.
    Attribute(String),
}

/// What the machines are compared by, smaller before greater: a number for each
/// strategy, then chance among the classes, the machines of one, and its zones.
pub(super) type Score = ([i64; MOST], usize, u64, u64);

/// As many numbers as a score may have: AWS's five strategies, or the default's
/// four.
const MOST: usize = 5;

/// What scores depend on besides the machine: how many tasks of the group there
/// are for each value of what is spread over.
pub(super) struct Scores<'d> {
    demand: &'d Demand,
    /// For each strategy, in order; empty if it needs none.
    counts: Vec<BTreeMap<String, u32>>,
}

/// What chance has decided for one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    /// How many other classes are preferred to the machine's own.
    pub(super) class: usize,
    /// Of machines that are equal, the one with the next greater tie is chosen.
    pub(super) pivot: u64,
    /// What the order of a machine's zones follows from.
    pub(super) seed: u64,
}

impl<'d> Scores<'d> {
    pub(super) fn new(fleet: &Fleet, demand: &'d Demand) -> Self {
        let strategies = demand.strategies.len().max(1);
        let mut scores = Self { demand, counts: alloc::vec![BTreeMap::new(); strategies] };
        for (alike, class) in fleet.classes() {
            let Some(kin) = class.kin(&demand.group) else { continue };
            for at in 0..strategies {
                if demand.strategies.get(at).is_some_and(is_particular_spread) {
                    let sorted = class.by_kin().then_some(&kin.tree);
                    for machine in sorted.unwrap_or(class.by_tie()).iter() {
                        for (zone, count) in machine.kin_by_zone(&demand.group) {
                            scores.count(at, &machine.host, zone, count);
                        }
                    }
                } else {
                    for (zone, count) in &kin.zones {
                        scores.count(at, &alike.host, zone, *count);
                    }
                }
            }
        }
        scores
    }

    /// Notes that a copy went to `zone` of this machine.
    pub(super) fn placed(&mut self, host: &Host, zone: &str) {
        (0..self.counts.len()).for_each(|at| self.count(at, host, zone, 1));
    }

    fn count(&mut self, at: usize, host: &Host, zone: &str, more: u32) {
        let value = match self.demand.strategies.get(at) {
            None => zone,
            Some(Strategy::Spread(Over::Attribute(name))) => value(host, name, zone),
            Some(Strategy::Spread(Over::Instances) | Strategy::Binpack(_) | Strategy::Random) => {
                return;
            }
        };
        let Some(counts) = self.counts.get_mut(at) else { return };
        match counts.get_mut(value) {
            Some(count) => *count = count.saturating_add(more),
            None => _ = counts.insert(value.to_owned(), more),
        }
    }

    fn counted(&self, at: usize, value: &str) -> i64 {
        self.counts.get(at).and_then(|counts| counts.get(value)).copied().map_or(0, i64::from)
    }

    /// The score of `zone` of a machine of which `own` is true. The machine itself is
    /// looked at only if it must be: it lies elsewhere, and most are passed over.
    pub(super) fn of(
        &self,
        candidate: &Candidate,
        own: &Summary,
        zone: &str,
        chance: Chance,
    ) -> Score {
        let tie = own.tie.0.wrapping_sub(chance.pivot);
        let numbers = self.numbers(&Whose::Machine(candidate), own, zone);
        (numbers, chance.class, tie, text_hash(zone, chance.seed))
    }

    /// A score that is no greater than that of any machine in a subtree, all of
    /// whose machines are like `host`. `kin` is the fewest tasks of the group that
    /// one of them has.
    pub(super) fn bound(
        &self,
        host: &Host,
        sum: &Summary,
        kin: i64,
        zone: &str,
        chance: Chance,
    ) -> Score {
        let (from, to) = sum.tie;
        let across = from < chance.pivot && chance.pivot <= to;
        let tie = if across { 0 } else { from.wrapping_sub(chance.pivot) };
        (self.numbers(&Whose::Class { host, kin }, sum, zone), chance.class, tie, 0)
    }

    /// A number for each strategy, or the default's four. What comes after chance
    /// has no say.
    fn numbers(&self, whose: &Whose<'_>, least: &Summary, zone: &str) -> [i64; MOST] {
        let strategies = &self.demand.strategies;
        if strategies.is_empty() {
            let [load, tasks, memory] = least.fullness;
            return [self.counted(0, zone), load, tasks, memory, 0];
        }
        let mut numbers = [0; MOST];
        for ((at, strategy), number) in strategies.iter().enumerate().zip(&mut numbers) {
            *number = match strategy {
                Strategy::Random => break,
                Strategy::Binpack(Resource::Cpu) => least.cpu_units.0,
                Strategy::Binpack(Resource::Memory) => least.memory_mib.0,
                Strategy::Spread(Over::Instances) => match whose {
                    Whose::Machine(machine) => i64::from(machine.kin(&self.demand.group)),
                    Whose::Class { kin, .. } => *kin,
                },
                Strategy::Spread(Over::Attribute(name)) => match whose {
                    Whose::Machine(machine) => self.counted(at, value(&machine.host, name, zone)),
                    Whose::Class { .. } if is_particular(name) => 0,
                    Whose::Class { host, .. } => self.counted(at, value(host, name, zone)),
                },
            };
        }
        numbers
    }
}

/// Whose score it is.
enum Whose<'a> {
    /// That of one machine.
    Machine(&'a Candidate),
    /// The least of some machines like `host`, none of which has fewer tasks of the
    /// group than `kin`.
    Class { host: &'a Host, kin: i64 },
}

/// The order in which the machines of a class are best looked at: that of the
/// first strategy in which they differ.
pub(super) fn order(demand: &Demand) -> Order {
    let orders = demand.strategies.iter().find_map(|strategy| match strategy {
        Strategy::Random => Some(Order::Tie),
        Strategy::Binpack(Resource::Cpu) => Some(Order::Cpu),
        Strategy::Binpack(Resource::Memory) => Some(Order::Memory),
        Strategy::Spread(_) => None,
    });
    orders.unwrap_or(Order::Tie)
}

/// Whether machines with tasks of the group are to be looked at apart from others.
pub(super) fn minds_kin(demand: &Demand) -> bool {
    demand.distinct || counts_kin(demand) || demand.strategies.iter().any(is_particular_spread)
}

/// Whether machines of one class are to be told apart by the tasks of the group
/// that they have.
fn counts_kin(demand: &Demand) -> bool {
    let mut until_chance = demand.strategies.iter().take_while(|it| **it != Strategy::Random);
    until_chance.any(|strategy| *strategy == Strategy::Spread(Over::Instances))
}

fn is_particular_spread(strategy: &Strategy) -> bool {
    matches!(strategy, Strategy::Spread(Over::Attribute(name)) if is_particular(name))
}

/// The value that a machine has in what is spread over.
fn value<'a>(host: &'a Host, name: &str, zone: &'a str) -> &'a str {
    if name == ZONE {
        return zone;
    }
    host.attributes.get(name).and_then(Option::as_deref).unwrap_or_default()
}
