//! The state of the control plane.
//!
//! All of it lives in memory, decoded, as an immutable [`View`]. A transaction
//! ([`Store::transact`]) is a function from the newest state to writes. A
//! [`Backend`] makes commits durable and does nothing else, which is why there
//! can be several.
//!
//! # What holds
//!
//! - *An acknowledged write is durable.* `transact` resolves only afterwards.
//! - *All or nothing.* A transaction's writes share a revision; no view and no
//!   backend ever holds some of them.
//! - *Readers see committed state.* [`Store::view`] is the newest durable
//!   revision, never one that may yet be taken back.
//! - *Transactions are serial.* Each runs against the outcome of the one before
//!   it, durable or not; if that one fails, so do all that were built on it.
//! - *Nothing is reset.* State that we cannot read to the last byte is refused,
//!   with the reason, and left as it is.
//! - *No runtime.* There is no task and no timer in here. A durable store has
//!   one thread of its own; an inline store has none, and its futures are ready
//!   at the first poll.
//!
//! # Use
//!
//! ```
//! # use ident::Scope;
//! # use serde::{Deserialize, Serialize};
//! use store::{Record, Registry, Store, StoreError};
//!
//! #[derive(Clone, Debug, Serialize, Deserialize)]
//! struct Instance {
//!     scope: Scope,
//!     id: String,
//!     cluster: String,
//!     free: u32,
//! }
//!
//! impl Record for Instance {
//!     const KIND: &'static str = "ecs.instance";
//!     fn scope(&self) -> &Scope {
//!         &self.scope
//!     }
//!     fn id(&self) -> String {
//!         self.id.clone()
//!     }
//!     fn indexes(&self) -> Vec<(&'static str, String)> {
//!         vec![("cluster", self.cluster.clone())]
//!     }
//! }
//!
//! # #[derive(Debug)] enum Error { NoRoom, Store(StoreError) }
//! # impl From<StoreError> for Error { fn from(e: StoreError) -> Self { Self::Store(e) } }
//! # async fn occupy(store: &Store, scope: &Scope) -> Result<(), Error> {
//! let taken = store
//!     .transact(|txn| {
//!         let roomy = txn.by::<Instance>(scope, "cluster", "default").find(|i| i.free > 0);
//!         let roomy = roomy.ok_or(Error::NoRoom)?;
//!         let mut instance = Instance::clone(&roomy);
//!         instance.free -= 1;
//!         txn.put(instance.clone());
//!         Ok::<_, Error>(instance.id)
//!     })
//!     .await?; // It is on the disk.
//! assert!(store.view().get::<Instance>(scope, &taken).is_some());
//! # Ok(())
//! # }
//! # let scope = Scope { account: "000000000001".parse().unwrap(), region: "us-east-1".parse().unwrap() };
//! # let store = Store::in_memory(Registry::new().record::<Instance>());
//! # let refused = store::conformance::block_on(occupy(&store, &scope));
//! # assert!(matches!(refused, Err(Error::NoRoom)));
//! ```
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | `record` | what a record is, and its encoding |
//! | `registry` | which kinds of records there are |
//! | `view` | the immutable state and its indexes |
//! | `derived` | what follows from records, kept up to date beside the newest |
//! | `txn` | one transaction: reads, guards, writes |
//! | `store` | running transactions and settling them |
//! | `committer` | group commit |
//! | `changes` | telling others that something changed |
//! | `interest` | telling only those whom it concerns |
//! | `backend` | what a durable backend must do |
//! | `memory` | the backend of tests and of the simulator |
//! | [`conformance`] | the suite that every backend passes |

mod backend;
mod changes;
mod committer;
mod derived;
mod error;
mod interest;
mod memory;
mod record;
mod registry;
mod store;
mod sync;
mod txn;
mod view;

pub mod conformance;

pub use backend::{Backend, Commit, Guard, Key, Loaded, Revision, StoredRecord, Write};
pub use changes::{Change, ChangeSet, Changes, Feed, Lagged};
pub use derived::Derived;
pub use error::{BoxError, StoreError};
pub use interest::Interest;
pub use memory::MemoryBackend;
pub use record::{Encoded, EncodingError, Record};
pub use registry::Registry;
pub use store::{MAX_ATTEMPTS, MAX_OPERATIONS, MAX_QUEUED, Store};
pub use txn::Txn;
pub use view::View;
