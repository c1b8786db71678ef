//! Machines in an order, such that the best that will do is found without looking
//! at all of them.
//!
//! A treap: a binary search tree that is balanced because each machine's height in
//! it follows from a hash of its id. Each node knows what its whole subtree can
//! offer at best, so that a search passes over what has no room, or cannot be
//! better than what it has found.
//!
//! It is persistent: a clone costs nothing, and of two that differ each has for
//! itself only the paths to where they do. One that nobody shares is changed in
//! place.

use super::candidate::{Candidate, Fullness};
use super::mix;
use alloc::sync::Arc;
use core::cmp::Ordering;

/// See the module. Who owns the tree says which number each machine has in it,
/// and says the same again when he takes the machine out.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Option<Arc<Node>>);

#[derive(Clone, Debug)]
pub(super) struct Node {
    number: i64,
    /// What is true of the machine alone. Kept, so that who passes by need not look
    /// at the machine.
    own: Summary,
    sum: Summary,
    candidate: Arc<Candidate>,
    left: Tree,
    right: Tree,
}

/// What is true of all machines of a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many they are.
    pub(super) len: u64,
    /// The least of the numbers that they are ordered by.
    pub(super) first: i64,
    /// The least and the most CPU units that one of them has left.
    pub(super) cpu_units: (i64, i64),
    /// The least and the most memory.
    pub(super) memory_mib: (i64, i64),
    /// The most interfaces that one of them can have yet.
    pub(super) enis: i64,
    /// The most GPUs that one of them has left.
    pub(super) gpus: i64,
    /// The least of what the default of ECS goes by.
    pub(super) fullness: Fullness,
    /// The least and the greatest tie.
    pub(super) tie: (u64, u64),
}

impl Summary {
    pub(super) fn of(number: i64, candidate: &Candidate) -> Self {
        let room = &candidate.room;
        Self {
            len: 1,
            first: number,
            cpu_units: (room.cpu_units, room.cpu_units),
            memory_mib: (room.memory_mib, room.memory_mib),
            enis: room.enis.unwrap_or(i64::MAX),
            gpus: room.gpus,
            fullness: candidate.fullness(),
            tie: (candidate.tie, candidate.tie),
        }
    }

    fn and(self, other: &Self) -> Self {
        let both = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        Self {
            len: self.len.saturating_add(other.len),
            first: self.first.min(other.first),
            cpu_units: both(self.cpu_units, other.cpu_units),
            memory_mib: both(self.memory_mib, other.memory_mib),
            enis: self.enis.max(other.enis),
            gpus: self.gpus.max(other.gpus),
            fullness: self.fullness.min(other.fullness),
            tie: (self.tie.0.min(other.tie.0), self.tie.1.max(other.tie.1)),
        }
    }
}

impl Node {
    fn new(number: i64, candidate: Arc<Candidate>) -> Self {
        let own = Summary::of(number, &candidate);
        Self { number, own, sum: own, candidate, left: Tree(None), right: Tree(None) }
    }

    /// The machine in the middle.
    pub(super) fn candidate(&self) -> &Arc<Candidate> {
        &self.candidate
    }

    /// What is true of it.
    pub(super) fn own(&self) -> &Summary {
        &self.own
    }

    /// What is true of this subtree.
    pub(super) fn sum(&self) -> &Summary {
        &self.sum
    }

    /// The subtrees on either side.
    pub(super) fn sides(&self) -> impl Iterator<Item = &Self> {
        [&self.left, &self.right].into_iter().filter_map(Tree::root)
    }

    fn add_up(&mut self) {
        self.sum = self.sides().fold(self.own, |sum, side| sum.and(&side.sum));
    }

    fn compare(&self, number: i64, candidate: &Candidate) -> Ordering {
        let (tie, _) = self.own.tie;
        // Two ids of one hash are rare, and where they lie is far.
        let by_id = || self.candidate.host.id.cmp(&candidate.host.id);
        (self.number, tie).cmp(&(number, candidate.tie)).then_with(by_id)
    }

    /// Of two nodes the higher is nearer to the root. Not the tie itself, or a
    /// tree ordered by ties would be a list.
    fn height(&self) -> u64 {
        mix(self.own.tie.0, 0x5eed)
    }
}

impl Tree {
    /// The topmost node, if there are any.
    pub(super) fn root(&self) -> Option<&Node> {
        self.0.as_deref()
    }

    /// How many machines there are.
    pub(super) fn len(&self) -> u64 {
        self.root().map_or(0, |node| node.sum.len)
    }

    /// The machines in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        (0..self.len()).filter_map(|rank| self.nth(rank))
    }

    /// The machine before which there are `rank` others.
    pub(super) fn nth(&self, mut rank: u64) -> Option<&Arc<Candidate>> {
        let mut tree = self;
        loop {
            let node = tree.root()?;
            let before = node.left.len();
            match rank.cmp(&before) {
                Ordering::Less => tree = &node.left,
                Ordering::Equal => return Some(&node.candidate),
                Ordering::Greater => {
                    rank = rank.saturating_sub(before).saturating_sub(1);
                    tree = &node.right;
                }
            }
        }
    }

    /// Takes a machine in that is not there yet.
    pub(super) fn insert(&mut self, number: i64, candidate: Arc<Candidate>) {
        self.join(Node::new(number, candidate));
    }

    fn join(&mut self, mut new: Node) {
        match &mut self.0 {
            Some(node) if node.height() >= new.height() => {
                let node = Arc::make_mut(node);
                match node.compare(new.number, &new.candidate) {
                    Ordering::Greater => node.left.join(new),
                    Ordering::Less | Ordering::Equal => node.right.join(new),
                }
                node.add_up();
            }
            Some(_) | None => {
                let (left, right) = core::mem::take(self).split(new.number, &new.candidate);
                (new.left, new.right) = (left, right);
                new.add_up();
                self.0 = Some(Arc::new(new));
            }
        }
    }

    /// What comes before the machine, and what after.
    fn split(self, number: i64, candidate: &Candidate) -> (Self, Self) {
        let Self(Some(mut node)) = self else { return (Self(None), Self(None)) };
        let top = Arc::make_mut(&mut node);
        if top.compare(number, candidate) == Ordering::Less {
            let (before, after) = core::mem::take(&mut top.right).split(number, candidate);
            top.right = before;
            top.add_up();
            (Self(Some(node)), after)
        } else {
            let (before, after) = core::mem::take(&mut top.left).split(number, candidate);
            top.left = after;
            top.add_up();
            (before, Self(Some(node)))
        }
    }

    /// Takes a machine out, if it is there under this number.
    pub(super) fn remove(&mut self, number: i64, candidate: &Candidate) {
        let Some(node) = &mut self.0 else { return };
        let order = node.compare(number, candidate);
        if order == Ordering::Equal {
            let (left, right) = (node.left.clone(), node.right.clone());
            *self = left.before(right);
            return;
        }
        let node = Arc::make_mut(node);
        match order {
            Ordering::Greater => node.left.remove(number, candidate),
            Ordering::Less | Ordering::Equal => node.right.remove(number, candidate),
        }
        node.add_up();
    }

    /// Both as one, where all of `self` comes before all of `other`.
    fn before(self, other: Self) -> Self {
        match (self.0, other.0) {
            (None, tree) | (tree, None) => Self(tree),
            (Some(mut left), Some(right)) if left.height() >= right.height() => {
                let top = Arc::make_mut(&mut left);
                top.right = core::mem::take(&mut top.right).before(Self(Some(right)));
                top.add_up();
                Self(Some(left))
            }
            (left, Some(mut right)) => {
                let top = Arc::make_mut(&mut right);
                top.left = Self(left).before(core::mem::take(&mut top.left));
                top.add_up();
                Self(Some(right))
            }
        }
    }

    /// Puts `new` in the place of `old`, which is the same machine.
    pub(super) fn replace(&mut self, old: (i64, &Candidate), new: (i64, &Arc<Candidate>)) {
        if old.0 == new.0 {
            self.update(new.0, new.1);
        } else {
            self.remove(old.0, old.1);
            self.insert(new.0, Arc::clone(new.1));
        }
    }

    fn update(&mut self, number: i64, candidate: &Arc<Candidate>) {
        let Some(node) = &mut self.0 else { return };
        let node = Arc::make_mut(node);
        match node.compare(number, candidate) {
            Ordering::Equal => {
                node.own = Summary::of(number, candidate);
                node.candidate = Arc::clone(candidate);
            }
            Ordering::Greater => node.left.update(number, candidate),
            Ordering::Less => node.right.update(number, candidate),
        }
        node.add_up();
    }
}
