//! What a durable backend must do, and the words it shares with the store.

use crate::{Encoded, StoreError};
use ident::Scope;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The number of a committed transaction that wrote something. It grows by one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a record is stored under. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose the record is, and where.
    pub scope: Arc<Scope>,
    /// The [`Record::KIND`](crate::Record::KIND).
    pub kind: Cow<'static, str>,
    /// The id, unique within scope and kind.
    pub id: Arc<str>,
}

impl Key {
    /// The key of a record.
    pub fn of<R: crate::Record>(record: &R) -> Self {
        let scope = Arc::new(record.scope().clone());
        Self { scope, kind: Cow::Borrowed(R::KIND), id: record.id().into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}/{}", self.kind, self.scope, self.id)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What a transaction read, and in which state it found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The record.
    pub key: Key,
    /// The revision that wrote it last; `None` if there was no such record.
    pub revision: Option<Revision>,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub key: Key,
    /// What it becomes; `None` deletes it.
    pub value: Option<Encoded>,
}

/// One transaction, as a backend sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The revision that the transaction makes.
    pub revision: Revision,
    /// What must still be as it was read.
    pub guards: Vec<Guard>,
    /// What changes, at most [`MAX_OPERATIONS`](crate::MAX_OPERATIONS) records
    /// and each at most once.
    pub writes: Vec<Write>,
}

/// A record as it lies in a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// What it is stored under.
    pub key: Key,
    /// The version of its encoding.
    pub version: u32,
    /// The revision that wrote it last.
    pub revision: Revision,
    /// The encoding.
    pub bytes: Vec<u8>,
}

/// Everything that a backend holds.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The newest revision.
    pub revision: Revision,
    /// Every record, in any order.
    pub records: Vec<StoredRecord>,
}

/// What a durable store must be able to do. It is called from one thread at a
/// time, and may block.
pub trait Backend: Send + fmt::Debug {
    /// Everything there is. Called once at the start, and again whenever a
    /// commit was answered with [`StoreError::Conflict`].
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Makes the transactions durable, in order, all or none of them.
    ///
    /// Answers [`StoreError::Conflict`], having changed nothing, unless
    ///
    /// - the first revision follows the newest one that the backend holds (or
    ///   the writer has not seen all there is) and the others follow on it, and
    /// - each guard holds when its transaction's turn comes.
    ///
    /// Any other error leaves it open whether the commits are durable. If they
    /// are, the next commit meets a conflict and the store catches up.
    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError>;
}
