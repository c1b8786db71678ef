//! Who may do what: access keys, the rights of their holders, and STS.
//!
//! There are two kinds of holders today. The owner of an account may do
//! everything in it. An instance may do what an ECS agent and a card need, and
//! nothing else: a stolen node must not be able to run tasks elsewhere.
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | [`records`](mod@records) | what we keep |
//! | [`bootstrap`](mod@bootstrap) | where keys come from |
//! | `authenticate` | answering the edge |
//! | [`policy`] | what an instance may do |
//! | `names` | ARNs and user ids |
//! | `api` | STS |
//!
//! # What holds
//!
//! - A key id is unique across accounts, and finding it is one lookup.
//! - Secrets lie in the state store in the clear: a signature of version 4
//!   cannot be verified with less. Whoever can read the store owns the cluster.
//! - A principal's rights follow from what it is. Nothing grants more.

mod api;
mod authenticate;
pub mod bootstrap;
mod names;
pub mod policy;
pub mod records;

pub use bootstrap::{Key, bootstrap, node_key};

use store::Store;

/// The service. The edge asks it about keys; clients ask it, as STS, who they are.
#[derive(Clone, Debug)]
pub struct Iam {
    store: Store,
}

impl Iam {
    /// The service around `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// `registry`, and the records that are kept here.
#[must_use]
pub fn records(registry: store::Registry) -> store::Registry {
    registry.record::<records::AccessKey>()
}

impl wire::iam::Api<chassis::Cx> for Iam {}
