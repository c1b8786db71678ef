//! Why the store refused, or failed.
//!
//! Messages are for our logs. Causes travel in `source()`, never inside a
//! message, so that each is printed once.

use crate::{EncodingError, Key};
use std::sync::Arc;

/// A cause whose type only its backend knows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The change, or one that it was built on, could not be made durable.
    /// The store goes on from what is durable and the request may be retried.
    ///
    /// It is not known that the change did *not* happen: a machine that fails
    /// to answer may have written all the same.
    #[error("the change could not be made durable")]
    Unavailable {
        /// What went wrong, shared by all whom it befell.
        #[source]
        cause: Arc<StoreError>,
    },

    /// Other writers changed what the transaction read, again and again.
    #[error("the transaction was contended in {attempts} attempts")]
    Contended {
        /// How often it ran.
        attempts: u32,
    },

    /// A backend's answer to a commit whose guards do not hold. [`Store`]
    /// handles it; callers of [`Store::transact`] do not see it.
    ///
    /// [`Store`]: crate::Store
    /// [`Store::transact`]: crate::Store::transact
    #[error("the state has changed since it was read")]
    Conflict,

    /// The transaction writes more than any backend promises to commit at once.
    #[error("the transaction writes {operations} records, the limit is {limit}")]
    TooLarge {
        /// How many records it writes.
        operations: usize,
        /// How many it may.
        limit: usize,
    },

    /// A record was written whose type the store was not told of at its start.
    #[error("record type {kind} is not registered with this store")]
    Unregistered {
        /// Its kind.
        kind: &'static str,
    },

    /// A record could not be encoded.
    #[error("{key} could not be encoded")]
    Encode {
        /// The record.
        key: Key,
        /// Why.
        #[source]
        cause: EncodingError,
    },

    /// A stored record could not be decoded. The state is left as it is.
    #[error("{key} cannot be read")]
    Unreadable {
        /// The record.
        key: Key,
        /// Why.
        #[source]
        cause: EncodingError,
    },

    /// A stored record is of a kind that this program does not know, likely
    /// because a newer one wrote it. The state is left as it is.
    #[error("{key} is of a kind that this version does not know")]
    UnknownKind {
        /// The record.
        key: Key,
    },

    /// A backend contradicts itself. The state is left as it is.
    #[error("the stored state is inconsistent: {problem}")]
    Inconsistent {
        /// How.
        problem: String,
    },

    /// A backend failed.
    #[error("{doing} failed")]
    Backend {
        /// What it was doing.
        doing: &'static str,
        /// Why it failed.
        #[source]
        cause: BoxError,
    },

    /// The thread that commits is gone; only a restart helps.
    #[error("the store has stopped")]
    Stopped,
}

impl StoreError {
    /// A failure of a backend while `doing` something.
    pub fn backend(doing: &'static str, cause: impl Into<BoxError>) -> Self {
        Self::Backend { doing, cause: cause.into() }
    }
}
