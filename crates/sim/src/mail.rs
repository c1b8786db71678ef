//! What is under way between the parts, and when it arrives.

use agent::engine::{Effect, Exit, Input, Report};
use net::plan::{CardPlan, CardReport};
use std::collections::BTreeMap;

/// Something under way.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    /// A plan, on a connection.
    Plan { node: usize, line: u64, plan: CardPlan },
    /// A card's report, on a connection.
    CardReport { node: usize, line: u64, report: CardReport },
    /// A frame of ACS to the agent, on a connection.
    ToAgent { node: usize, line: u64, frame: String },
    /// A frame of ACS from the agent, on a connection.
    FromAgent { node: usize, line: u64, frame: String },
    /// That a connection is over, to the node.
    NodeHearsEnd { node: usize, line: u64 },
    /// That a connection is over, to the control plane.
    PlaneHearsEnd { node: usize, line: u64 },
    /// The services' note that a session is over.
    Disconnect { instance: ident::ContainerInstanceId, session: String },
    /// The card sets about its plan.
    Apply { node: usize, life: u64 },
    /// An agent's work.
    Work { node: usize, life: u64, effect: Effect },
    /// What came of it.
    News { node: usize, life: u64, input: Input },
    /// An agent's report of a task, until it is taken.
    Submit { node: usize, life: u64, report: Report },
    /// A copy of one that nobody waits for any more.
    Echo { node: usize, report: Report },
    /// The beginning of a process that its agent gave up waiting for.
    Birth { node: usize, container: String },
    /// The end of a process that was asked to end.
    Death { node: usize, container: String, exit: Exit },
    /// Somebody's RunTask, by its number among the orders.
    Run { order: usize },
    /// Somebody's StopTask.
    Stop { cluster: String, task: String, reason: String },
}

/// All that is under way, in the order of its arrival.
#[derive(Debug, Default)]
pub(crate) struct Post {
    sent: u64,
    due: BTreeMap<(u64, u64), Mail>,
    /// When the last frame of a connection arrives, by connection and direction:
    /// a connection keeps its order.
    last: BTreeMap<(u64, bool), u64>,
}

impl Post {
    /// Something that arrives at `due`.
    pub(crate) fn send(&mut self, due: u64, mail: Mail) {
        self.sent += 1;
        self.due.insert((due, self.sent), mail);
    }

    /// Something that arrives at `due`, or after what went the same way before.
    pub(crate) fn send_on(&mut self, line: u64, up: bool, due: u64, mail: Mail) {
        let last = self.last.entry((line, up)).or_default();
        *last = due.max(*last);
        let due = *last;
        self.send(due, mail);
    }

    /// What arrives next, if it does so by `now`.
    pub(crate) fn next(&mut self, now: u64) -> Option<Mail> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// The work that a process had begun, which goes with it.
    pub(crate) fn abandoned(&mut self, of: usize, in_life: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.due.retain(|_, mail| {
            if let Mail::Work { node, life, effect } = mail
                && (*node, *life) == (of, in_life)
            {
                effects.push(effect.clone());
                return false;
            }
            !matches!(mail, Mail::News { node, life, .. } if (*node, *life) == (of, in_life))
        });
        effects
    }
}
