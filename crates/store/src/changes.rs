//! Telling others that something changed.
//!
//! Two ways, for two needs. A controller wants a *hint* and looks at the state
//! itself: [`Changes`] can lose intermediate changes, never the last. A
//! consumer that follows the state record by record, such as a long poll or a
//! standby, wants to know *what* changed: [`Feed`] says so, for as long as it
//! keeps up, and says plainly when it did not.

use crate::backend::Write;
use crate::interest::{Interest, Subscribers, Subscription};
use crate::sync::lock;
use crate::{Commit, Key, Revision};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How many transactions a feed may lag behind before it is told to start over.
pub(crate) const BACKLOG: usize = 1024;

/// A record that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The record.
    pub key: Key,
    /// Whether it was deleted rather than written.
    pub deleted: bool,
}

/// What one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// The revision that it made.
    pub revision: Revision,
    /// The records, each once.
    pub changes: Vec<Change>,
}

impl From<Commit> for ChangeSet {
    fn from(commit: Commit) -> Self {
        let change = |Write { key, value }| Change { key, deleted: value.is_none() };
        Self { revision: commit.revision, changes: commit.writes.into_iter().map(change).collect() }
    }
}

/// A consumer missed changes. It must look at the whole state again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes up to revision {resumes_after} are no longer known one by one")]
pub struct Lagged {
    /// The feed goes on with what follows this revision. A view taken after
    /// this answer is at least as new.
    pub resumes_after: Revision,
}

/// The hint that something has changed.
#[derive(Clone, Debug)]
pub struct Changes {
    newest: watch::Receiver<Revision>,
    /// What it is about, if not about everything.
    _subscription: Option<Arc<Subscription>>,
}

impl Changes {
    /// Waits until the durable state is newer than when this was last called,
    /// or than at the subscription, and says which revision it has reached.
    /// Any number of changes meanwhile are one.
    ///
    /// Cancelling it loses nothing. It waits for ever once the store is gone.
    pub async fn changed(&mut self) -> Revision {
        match self.newest.changed().await {
            Ok(()) => *self.newest.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether [`changed`](Self::changed) would answer at once.
    pub fn has_changed(&self) -> bool {
        self.newest.has_changed().unwrap_or(false)
    }
}

/// What changed, transaction by transaction, in order.
#[derive(Debug)]
pub struct Feed {
    bulletin: Arc<Bulletin>,
    newest: watch::Receiver<Revision>,
    seen: Revision,
}

impl Feed {
    /// The next transaction, once there is one; or that some were missed, after
    /// which the feed goes on where it can.
    ///
    /// Cancelling it loses nothing. It waits for ever once the store is gone.
    pub async fn next(&mut self) -> Result<Arc<ChangeSet>, Lagged> {
        loop {
            // Marked as seen before we look: news in between wakes us again.
            self.newest.borrow_and_update();
            match self.bulletin.after(self.seen) {
                Ok(Some(set)) => {
                    self.seen = set.revision;
                    return Ok(set);
                }
                Ok(None) => {}
                Err(lagged) => {
                    self.seen = lagged.resumes_after;
                    return Err(lagged);
                }
            }
            if self.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Where the store posts what it made durable.
#[derive(Debug)]
pub(crate) struct Bulletin {
    backlog: Mutex<Backlog>,
    newest: watch::Sender<Revision>,
    subscribers: Arc<Subscribers>,
}

#[derive(Debug)]
struct Backlog {
    /// The revision before the first of `sets`.
    base: Revision,
    newest: Revision,
    sets: VecDeque<Arc<ChangeSet>>,
}

impl Bulletin {
    pub(crate) fn new(revision: Revision) -> Self {
        Self {
            backlog: Mutex::new(Backlog::empty(revision)),
            newest: watch::Sender::new(revision),
            subscribers: Arc::default(),
        }
    }

    /// Posts transactions that followed one another, and touched this. The view must
    /// show them already: whoever is woken looks there.
    pub(crate) fn post(&self, sets: impl Iterator<Item = ChangeSet>, touched: &[Interest]) {
        let mut backlog = lock(&self.backlog);
        for set in sets {
            backlog.newest = set.revision;
            backlog.sets.push_back(Arc::new(set));
            if backlog.sets.len() > BACKLOG {
                backlog.base = backlog.sets.pop_front().map_or(backlog.base, |set| set.revision);
            }
        }
        let newest = backlog.newest;
        drop(backlog);
        self.newest.send_replace(newest);
        self.subscribers.tell(touched, newest);
    }

    /// Says that the state is now at `revision`, and not by way of our commits.
    pub(crate) fn restart(&self, revision: Revision) {
        *lock(&self.backlog) = Backlog::empty(revision);
        self.newest.send_replace(revision);
        self.subscribers.tell_all(revision);
    }

    pub(crate) fn subscribe(&self) -> Changes {
        Changes { newest: self.newest.subscribe(), _subscription: None }
    }

    pub(crate) fn subscribe_to(&self, interests: &[Interest]) -> Changes {
        let (newest, subscription) = self.subscribers.join(interests, *self.newest.borrow());
        Changes { newest, _subscription: Some(Arc::new(subscription)) }
    }

    pub(crate) fn follow(self: &Arc<Self>, seen: Revision) -> Feed {
        Feed { bulletin: Arc::clone(self), newest: self.newest.subscribe(), seen }
    }

    fn after(&self, seen: Revision) -> Result<Option<Arc<ChangeSet>>, Lagged> {
        let backlog = lock(&self.backlog);
        if seen < backlog.base || seen > backlog.newest {
            return Err(Lagged { resumes_after: backlog.newest });
        }
        // Revisions have no gaps, but a search costs nothing and assumes less.
        let at = backlog.sets.partition_point(|set| set.revision <= seen);
        Ok(backlog.sets.get(at).cloned())
    }
}

impl Backlog {
    fn empty(revision: Revision) -> Self {
        Self { base: revision, newest: revision, sets: VecDeque::new() }
    }
}
