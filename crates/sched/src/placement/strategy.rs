//! What decides among the machines that will do.

use super::{Candidate, Demand, mix, text_hash};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
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

/// What the machines are compared by. A smaller score is better; the last number
/// decides what is still equal.
pub(super) type Score = ([i64; MOST], u64);

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

impl<'d> Scores<'d> {
    pub(super) fn new(candidates: &[Arc<Candidate>], demand: &'d Demand) -> Self {
        let zone = [Strategy::Spread(Over::Attribute(ZONE.to_owned()))];
        let strategies =
            if demand.strategies.is_empty() { &zone[..] } else { &demand.strategies[..] };
        let counts = strategies.iter().map(|_| BTreeMap::new()).collect();
        let mut scores = Self { demand, counts };
        for candidate in candidates {
            for (zone, count) in candidate.kin_by_zone(&demand.group) {
                scores.count(candidate, zone, count);
            }
        }
        scores
    }

    /// Notes that a copy went to `zone` of this machine.
    pub(super) fn placed(&mut self, candidate: &Candidate, zone: &str) {
        self.count(candidate, zone, 1);
    }

    fn count(&mut self, candidate: &Candidate, zone: &str, more: u32) {
        for (at, counts) in self.counts.iter_mut().enumerate() {
            let value = match self.demand.strategies.get(at) {
                None => zone,
                Some(Strategy::Spread(Over::Attribute(name))) => value(candidate, name, zone),
                Some(
                    Strategy::Spread(Over::Instances) | Strategy::Binpack(_) | Strategy::Random,
                ) => {
                    continue;
                }
            };
            match counts.get_mut(value) {
                Some(count) => *count = count.saturating_add(more),
                None => _ = counts.insert(value.to_owned(), more),
            }
        }
    }

    /// The score of `zone` of a machine.
    pub(super) fn of(&self, candidate: &Candidate, zone: &str, seed: u64) -> Score {
        let tie = text_hash(zone, text_hash(candidate.host.id.as_str(), seed));
        let mut numbers = [0; MOST];
        if self.demand.strategies.is_empty() {
            let kin = self.counts.first().and_then(|counts| counts.get(zone));
            numbers = [
                i64::from(kin.copied().unwrap_or(0)),
                candidate.load(),
                i64::from(candidate.tasks),
                candidate.room.memory_mib.saturating_neg(),
                0,
            ];
        }
        let strategies = self.demand.strategies.iter().zip(&self.counts);
        for ((at, number), (strategy, counts)) in numbers.iter_mut().enumerate().zip(strategies) {
            *number = match strategy {
                // Each chance is a new one, or the second would repeat the first.
                Strategy::Random => {
                    i64::try_from(mix(tie, u64::try_from(at).unwrap_or(0)) >> 1).unwrap_or(0)
                }
                Strategy::Binpack(Resource::Cpu) => candidate.room.cpu_units,
                Strategy::Binpack(Resource::Memory) => candidate.room.memory_mib,
                Strategy::Spread(Over::Instances) => i64::from(candidate.kin(&self.demand.group)),
                Strategy::Spread(Over::Attribute(name)) => {
                    i64::from(counts.get(value(candidate, name, zone)).copied().unwrap_or(0))
                }
            };
        }
        (numbers, tie)
    }
}

/// The value that a machine has in what is spread over.
fn value<'a>(candidate: &'a Candidate, name: &str, zone: &'a str) -> &'a str {
    if name == ZONE {
        return zone;
    }
    candidate.host.attributes.get(name).and_then(Option::as_deref).unwrap_or_default()
}
