//! Which machine a task goes to, and why not to the others.
//!
//! A machine must be active, its agent connected, have room, have the attributes
//! that the task demands, and stand in one of the availability zones that the
//! task may be in. Among those, the default strategy of ECS applies: spread over
//! the zones, then the least loaded machine. What is still equal is decided by
//! the seed, so that the same question has the same answer.

use crate::resources::{Capacity, Need, Room, Shortage};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use ident::ContainerInstanceId;

/// A machine that a task might go to, with what is on it already.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The machine.
    pub id: ContainerInstanceId,
    /// Whether it takes tasks: its status is ACTIVE.
    pub active: bool,
    /// Whether its agent has a session with us.
    pub connected: bool,
    /// The availability zones it stands in; its own zone is the first. A machine
    /// at home may stand in all of them.
    pub zones: Vec<String>,
    /// Its attributes: name and, if it has one, value.
    pub attributes: BTreeMap<String, Option<String>>,
    /// What it registered.
    pub capacity: Capacity,
    /// What its tasks leave of that.
    pub room: Room,
    /// How many tasks it has.
    pub tasks: u32,
    /// How many tasks of the same group as the new one it has, by the zone they
    /// are in.
    pub kin: BTreeMap<String, u32>,
}

/// An attribute that a machine must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demanded {
    /// Its name.
    pub name: String,
    /// Its value, if that matters.
    pub value: Option<String>,
}

/// What a task demands of the machine it goes to.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Its share of the machine.
    pub need: Need,
    /// What the machine must be able to do.
    pub attributes: BTreeSet<Demanded>,
    /// The availability zones that the task may be in, which are those of its
    /// subnets; `None` if it has no subnets and any will do.
    pub zones: Option<BTreeSet<String>>,
}

/// Where one copy of the task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The machine.
    pub instance: ContainerInstanceId,
    /// The zone, one of those that the machine stands in.
    pub zone: String,
}

/// Why a machine does not take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is draining, or gone.
    Inactive,
    /// Its agent is not connected.
    Agent,
    /// It has not enough of something.
    Short(Shortage),
    /// It lacks an attribute, or has another value.
    Attribute(Demanded),
    /// It stands in none of the zones that the task may be in.
    Zone,
}

impl Reason {
    /// The reason as AWS puts it in `failures`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::Agent => "AGENT",
            Self::Short(Shortage::Cpu { .. }) => "RESOURCE:CPU",
            Self::Short(Shortage::Memory { .. }) => "RESOURCE:MEMORY",
            Self::Short(Shortage::Port(..)) => "RESOURCE:PORTS",
            Self::Short(Shortage::Eni { .. }) => "RESOURCE:ENI",
            // A subnet's zone reaches AWS's placement as one more attribute.
            Self::Attribute(_) | Self::Zone => "ATTRIBUTE",
        }
    }
}

/// The answer to [`place`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Where the copies go, in the order in which they were placed.
    pub places: Vec<Place>,
    /// If not all copies have a place: why not, for every machine, each with at
    /// least one reason. It is empty when there are no machines at all.
    pub refusals: Vec<(ContainerInstanceId, Vec<Reason>)>,
}

/// Finds places for `copies` of a task, one after another: each copy sees those
/// before it. Stops at the first that fits nowhere.
pub fn place(mut candidates: Vec<Candidate>, demand: &Demand, copies: u32, seed: u64) -> Placement {
    let mut placement = Placement::default();
    for copy in 0..copies {
        let Some((at, place)) = best(&candidates, demand, mix(seed, u64::from(copy))) else {
            placement.refusals = candidates
                .iter()
                .map(|candidate| (candidate.id.clone(), refusals(candidate, demand)))
                .collect();
            break;
        };
        if let Some(taker) = candidates.get_mut(at) {
            taker.room.take(&demand.need);
            taker.tasks = taker.tasks.saturating_add(1);
            let kin = taker.kin.entry(place.zone.clone()).or_default();
            *kin = kin.saturating_add(1);
        }
        placement.places.push(place);
    }
    placement
}

/// Why `candidate` does not take the task; nothing if it does.
pub fn refusals(candidate: &Candidate, demand: &Demand) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !candidate.active {
        reasons.push(Reason::Inactive);
    }
    if !candidate.connected {
        reasons.push(Reason::Agent);
    }
    reasons.extend(candidate.room.shortages(&demand.need).into_iter().map(Reason::Short));
    let missing = demand.attributes.iter().filter(|demanded| {
        match (candidate.attributes.get(&demanded.name), &demanded.value) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(has), Some(_)) => *has != demanded.value,
        }
    });
    reasons.extend(missing.cloned().map(Reason::Attribute));
    if zones(candidate, demand).next().is_none() {
        reasons.push(Reason::Zone);
    }
    reasons
}

/// The zones that the task could be in on this machine.
fn zones<'a>(candidate: &'a Candidate, demand: &'a Demand) -> impl Iterator<Item = &'a String> {
    // Without subnets to choose among, a task is where its machine is.
    let choice = if demand.zones.is_some() { candidate.zones.len() } else { 1 };
    candidate
        .zones
        .iter()
        .take(choice)
        .filter(|zone| demand.zones.as_ref().is_none_or(|allowed| allowed.contains(*zone)))
}

fn best(candidates: &[Candidate], demand: &Demand, seed: u64) -> Option<(usize, Place)> {
    let mut kin_by_zone = BTreeMap::<&str, u32>::new();
    for (zone, count) in candidates.iter().flat_map(|candidate| &candidate.kin) {
        let sum = kin_by_zone.entry(zone).or_default();
        *sum = sum.saturating_add(*count);
    }
    let options = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| refusals(candidate, demand).is_empty())
        .flat_map(|(at, candidate)| {
            zones(candidate, demand).map(move |zone| (at, candidate, zone))
        });
    let (at, candidate, zone) = options.min_by_key(|(_, candidate, zone)| {
        let kin = kin_by_zone.get(zone.as_str()).copied().unwrap_or(0);
        let tie = text_hash(zone, text_hash(candidate.id.as_str(), seed));
        (kin, load(candidate), candidate.tasks, Reverse(candidate.room.memory_mib), tie)
    })?;
    Some((at, Place { instance: candidate.id.clone(), zone: zone.clone() }))
}

/// How full a machine is, in thousandths of what it has most of in use.
fn load(candidate: &Candidate) -> i64 {
    let share = |whole: i64, left: i64| {
        let used = whole.saturating_sub(left).saturating_mul(1000);
        used.checked_div(whole).unwrap_or(0)
    };
    let cpu = share(candidate.capacity.cpu_units, candidate.room.cpu_units);
    let memory = share(candidate.capacity.memory_mib, candidate.room.memory_mib);
    cpu.max(memory)
}

fn text_hash(text: &str, seed: u64) -> u64 {
    text.bytes().fold(seed, |hash, byte| mix(hash, u64::from(byte)))
}

/// The finisher of `SplitMix64` over both.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = (a ^ b).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
