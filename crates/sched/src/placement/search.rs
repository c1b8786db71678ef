//! The best machine for a task, found without looking at all of them.
//!
//! Best first: what may hold the best machine waits in a queue by the best that it
//! may hold, and what comes out is either a machine, which then is the best, or a
//! subtree, in whose place its parts go in. Which trees are searched decides only
//! how soon the best comes out.

use super::fleet::{Alike, Class, Fleet, is_general, is_particular};
use super::strategy::{self, Chance, Score, Scores};
use super::tree::{Node, Tree};
use super::{Candidate, Demand, lacks, mix, takes, zones};
use alloc::collections::BinaryHeap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

/// The classes whose machines may take a task, in a fleet that changes as copies of it
/// find their places.
pub(super) struct Search<'a> {
    fleet: &'a mut Fleet,
    demand: &'a Demand,
    lots: Vec<Lot>,
}

/// A class, as far as the search looks at it.
struct Lot {
    alike: Alike,
    /// The zones that the task could be in, on any machine of the class.
    zones: Vec<String>,
}

/// A machine that was found, and the zone it is the best in.
pub(super) struct Found {
    pub(super) candidate: Arc<Candidate>,
    pub(super) zone: String,
}

impl<'a> Search<'a> {
    pub(super) fn new(fleet: &'a mut Fleet, demand: &'a Demand) -> Self {
        let fit = |(alike, class): (&Alike, &Class)| {
            let zones: Vec<String> = zones(&alike.host, demand).cloned().collect();
            let may = !zones.is_empty() && may_take(alike, class, demand);
            may.then(|| Lot { alike: alike.clone(), zones })
        };
        let lots = fleet.classes().filter_map(fit).collect();
        Self { fleet, demand, lots }
    }

    /// The best place for one copy, if there is any.
    pub(super) fn best(&self, scores: &Scores<'_>, seed: u64) -> Option<Found> {
        let classes = self.lots.iter().filter_map(|lot| self.fleet.class(&lot.alike));
        let classes: Vec<&Class> = classes.collect();
        let (first, pivot) = pivot(&classes, seed);
        let mut queue = Queue { search: self, scores, first, pivot, seed, heap: <_>::default() };
        let order = strategy::order(self.demand);
        let apart = strategy::minds_kin(self.demand);
        for (at, (lot, class)) in self.lots.iter().zip(&classes).enumerate() {
            let all = class.tree(order);
            for zone in 0..lot.zones.len() {
                if !(apart && class.by_kin()) {
                    queue.push(at, zone, Among::All, all.root());
                    continue;
                }
                let kin = class.kin(&self.demand.group).map(|kin| &kin.tree);
                if kin.map_or(0, Tree::len) < all.len() {
                    queue.push(at, zone, Among::Strangers, all.root());
                }
                if !self.demand.distinct {
                    queue.push(at, zone, Among::Kin, kin.and_then(Tree::root));
                }
            }
        }
        queue.best()
    }

    /// Notes that the machine that was found is `now` like this.
    pub(super) fn replace(&mut self, now: &Arc<Candidate>) {
        self.fleet.put(now);
    }
}

/// The lot and the tie of a machine; each machine is as likely as any other.
fn pivot(lots: &[&Class], seed: u64) -> (usize, u64) {
    let machines = lots.iter().map(|class| class.by_tie().len()).sum::<u64>();
    let mut rank = mix(seed, 0).checked_rem(machines).unwrap_or(0);
    for (at, class) in lots.iter().enumerate() {
        let ties = class.by_tie();
        if let Some(machine) = ties.nth(rank) {
            return (at, machine.tie);
        }
        rank = rank.saturating_sub(ties.len());
    }
    (0, 0)
}

/// Whether what is the same for all machines of a class speaks against none.
fn may_take(alike: &Alike, class: &Class, demand: &Demand) -> bool {
    let host = &alike.host;
    let some = class.by_tie().root().map(Node::candidate);
    host.active
        && host.connected
        && !demand.attributes.iter().any(|it| !is_particular(&it.name) && lacks(host, it))
        && demand
            .member_of
            .iter()
            .filter(|expression| is_general(expression))
            .all(|expression| some.is_some_and(|some| expression.selects(&**some)))
}

/// Which machines of a tree are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    All,
    /// Those with tasks of the group, in a tree of these alone.
    Kin,
    /// Those without any, in a tree of all.
    Strangers,
}

struct Queue<'s> {
    search: &'s Search<'s>,
    scores: &'s Scores<'s>,
    /// The lot that is preferred among equals; those after it follow, and so on.
    first: usize,
    pivot: u64,
    seed: u64,
    heap: BinaryHeap<Reverse<Entry<'s>>>,
}

struct Entry<'s> {
    score: Score,
    lot: usize,
    zone: usize,
    what: What<'s>,
}

enum What<'s> {
    Machine(&'s Arc<Candidate>),
    Subtree(&'s Node, Among),
}

impl<'s> Queue<'s> {
    fn push(&mut self, lot: usize, zone: usize, among: Among, node: Option<&'s Node>) {
        let demand = self.search.demand;
        let Some((node, own)) = node.zip(self.search.lots.get(lot)) else { return };
        let Some(name) = own.zones.get(zone) else { return };
        let sum = node.sum();
        let enough = |need: i64, most: i64| need <= most.max(0);
        if enough(demand.need.cpu_units, sum.cpu_units.1)
            && enough(demand.need.memory_mib, sum.memory_mib.1)
            && enough(demand.need.enis, sum.enis)
            && enough(demand.need.gpus, sum.gpus)
        {
            let kin = if among == Among::Kin { sum.first } else { 0 };
            let score = self.scores.bound(&own.alike.host, sum, kin, name, self.chance(lot));
            self.heap.push(Reverse(Entry { score, lot, zone, what: What::Subtree(node, among) }));
        }
    }

    fn chance(&self, lot: usize) -> Chance {
        let class = match lot.checked_sub(self.first) {
            Some(after) => after,
            None => self.search.lots.len().saturating_sub(self.first).saturating_add(lot),
        };
        Chance { class, pivot: self.pivot, seed: self.seed }
    }

    fn best(mut self) -> Option<Found> {
        while let Some(Reverse(Entry { lot, zone, what, .. })) = self.heap.pop() {
            let own = self.search.lots.get(lot)?;
            let name = own.zones.get(zone)?;
            match what {
                // Only now, since most machines that go in never come out.
                What::Machine(candidate) if takes(candidate, self.search.demand) => {
                    let candidate = Arc::clone(candidate);
                    return Some(Found { candidate, zone: name.clone() });
                }
                What::Machine(_) => {}
                What::Subtree(node, among) => {
                    let candidate = node.candidate();
                    let group = &self.search.demand.group;
                    if among != Among::Strangers || candidate.kin(group) == 0 {
                        let own = node.own();
                        let score = self.scores.of(candidate, own, name, self.chance(lot));
                        let what = What::Machine(candidate);
                        self.heap.push(Reverse(Entry { score, lot, zone, what }));
                    }
                    for side in node.sides() {
                        self.push(lot, zone, among, Some(side));
                    }
                }
            }
        }
        None
    }
}

impl Entry<'_> {
    /// A machine comes out before the subtrees that hold nothing better.
    fn rank(&self) -> (Score, bool, usize, usize) {
        let subtree = matches!(self.what, What::Subtree(..));
        (self.score, subtree, self.lot, self.zone)
    }
}

impl Ord for Entry<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Entry<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry<'_> {}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
