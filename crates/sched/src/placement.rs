//! Which machine a task goes to, and why not to the others.
//!
//! In the order of ECS: a machine must be active, its agent connected, have room,
//! have the attributes that the task demands, stand in one of the availability
//! zones that the task may be in, and satisfy the constraints. Among those, the
//! strategies decide one after another; without any, the default of ECS applies:
//! spread over the zones, then the least loaded machine. What is still equal is
//! decided by the seed, so that the same question has the same answer.

mod candidate;
mod fleet;
mod search;
mod strategy;
mod tree;

pub use candidate::{Candidate, Host, Tenant};
pub use fleet::{Fleet, TRUNK_ID};
pub use strategy::{Over, Resource, Strategy, ZONE};

use crate::query::Expression;
use crate::resources::{Need, Shortage};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ident::ContainerInstanceId;
use search::{Found, Search};
use strategy::Scores;

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
    /// The group that the task belongs to.
    pub group: String,
    /// Its share of the machine.
    pub need: Need,
    /// What the machine must be able to do.
    pub attributes: BTreeSet<Demanded>,
    /// The availability zones that the task may be in, which are those of its
    /// subnets; `None` if it has no subnets and any will do.
    pub zones: Option<BTreeSet<String>>,
    /// Whether no other task of the group may be on the machine.
    pub distinct: bool,
    /// Expressions that must all select the machine.
    pub member_of: Vec<Expression>,
    /// What decides among the machines that will do, first things first. If
    /// there is none, the default does.
    pub strategies: Vec<Strategy>,
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
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It is draining, or gone.
    Inactive,
    /// Its agent is not connected.
    Agent,
    /// It has not enough of something.
    Short(Shortage),
    /// It lacks an attribute, or has another value.
    #[allow(missing_docs)]
    Attribute { demanded: Demanded, found: Option<String> },
    /// It stands in none of the zones that the task may be in.
    Zone,
    /// It has a task of the same group, and must not.
    Distinct,
    /// The expression does not select it.
    MemberOf(Expression),
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
            Self::Short(Shortage::Gpu { .. }) => "RESOURCE:GPU",
            // A subnet's zone reaches AWS's placement as one more attribute.
            Self::Attribute { .. } | Self::Zone => "ATTRIBUTE",
            Self::Distinct => "DistinctInstance placement constraint unsatisfied.",
            Self::MemberOf(_) => "MemberOf placement constraint unsatisfied.",
        }
    }
}

/// The answer to [`place`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Where the copies go, in the order in which they were placed.
    pub places: Vec<Place>,
    /// If not all copies have a place: why not, for every machine, each with at
    /// least one reason. It is empty when there are no machines at all.
    pub refusals: Vec<(ContainerInstanceId, Vec<Reason>)>,
}

/// Finds places for `copies` of a task, one after another, and lets each in, so that
/// it is seen by those after it. Stops at the first that fits nowhere.
///
/// A copy takes time in the logarithm of the machines, times the classes of them
/// that differ in what they are. It takes longer where many machines that look
/// better turn out not to do for what no tree knows: host ports, a second
/// strategy, expressions about tasks.
pub fn place(fleet: &mut Fleet, demand: &Demand, copies: u32, seed: u64) -> Placement {
    let mut scores = Scores::new(fleet, demand);
    let mut search = Search::new(fleet, demand);
    let mut places = Vec::new();
    for copy in 0..copies {
        let Some(Found { candidate, zone }) = search.best(&scores, mix(seed, u64::from(copy)))
        else {
            let each = |it: &Arc<Candidate>| (it.host.id.clone(), refusals(it, demand));
            return Placement { places, refusals: fleet.iter().map(each).collect() };
        };
        let mut taker = Candidate::clone(&candidate);
        taker.admit(&Tenant {
            group: &demand.group,
            zone: &zone,
            need: &demand.need,
            running: false,
        });
        scores.placed(&taker.host, &zone);
        places.push(Place { instance: taker.host.id.clone(), zone });
        search.replace(&Arc::new(taker));
    }
    Placement { places, refusals: Vec::new() }
}

/// Why `candidate` does not take the task; nothing if it does.
pub fn refusals(candidate: &Candidate, demand: &Demand) -> Vec<Reason> {
    let mut reasons = Vec::new();
    judge(candidate, demand, &mut |reason| {
        reasons.push(reason());
        true
    });
    reasons
}

/// Whether `candidate` takes the task.
pub fn takes(candidate: &Candidate, demand: &Demand) -> bool {
    judge(candidate, demand, &mut |_| false)
}

/// Tells each reason against the machine until there is none left or `go_on` has
/// heard enough; says whether it has never been called.
fn judge(
    candidate: &Candidate,
    demand: &Demand,
    go_on: &mut dyn FnMut(&dyn Fn() -> Reason) -> bool,
) -> bool {
    let host = &candidate.host;
    let mut sound = true;
    let mut against = |is_so: bool, reason: &dyn Fn() -> Reason| {
        if is_so {
            sound = false;
        }
        !is_so || go_on(reason)
    };
    let heard_all = against(!host.active, &|| Reason::Inactive)
        && against(!host.connected, &|| Reason::Agent)
        && (candidate.room.holds(&demand.need)
            || candidate
                .room
                .shortages(&demand.need)
                .iter()
                .all(|short| against(true, &|| Reason::Short(short.clone()))))
        && demand.attributes.iter().all(|demanded| {
            against(lacks(host, demanded), &|| Reason::Attribute {
                demanded: demanded.clone(),
                found: host.attributes.get(&demanded.name).cloned().flatten(),
            })
        })
        && against(zones(host, demand).next().is_none(), &|| Reason::Zone)
        && against(demand.distinct && candidate.kin(&demand.group) > 0, &|| Reason::Distinct)
        && demand.member_of.iter().all(|expression| {
            against(!expression.selects(candidate), &|| Reason::MemberOf(expression.clone()))
        });
    sound && heard_all
}

/// Whether a machine has not the attribute that is demanded, or has another value.
fn lacks(host: &Host, demanded: &Demanded) -> bool {
    match (host.attributes.get(&demanded.name), &demanded.value) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(has), Some(_)) => *has != demanded.value,
    }
}

/// The zones that the task could be in on this machine.
fn zones<'a>(host: &'a Host, demand: &'a Demand) -> impl Iterator<Item = &'a String> {
    // Without subnets to choose among, a task is where its machine is.
    let choice = if demand.zones.is_some() { host.zones.len() } else { 1 };
    host.zones
        .iter()
        .take(choice)
        .filter(|zone| demand.zones.as_ref().is_none_or(|allowed| allowed.contains(*zone)))
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
