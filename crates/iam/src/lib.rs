//! Who may do what: access keys, the rights of their holders, and STS.
//!
//! There are three kinds of holders today. The owner of an account may do
//! everything in it. An instance may do what an ECS agent and a card need, and
//! nothing else: a stolen node must not be able to run tasks elsewhere. Whoever
//! has assumed a role may do what the role's policies allow, as far as a small
//! evaluator can tell.
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | [`records`](mod@records) | what we keep |
//! | [`accounts`] | making, listing and deleting accounts |
//! | [`closing`] | deleting an account to the last record |
//! | [`bootstrap`](mod@bootstrap) | where keys come from |
//! | `authenticate` | answering the edge |
//! | [`policy`] | what an instance may do |
//! | [`roles`] | what a role is, and whether there is one |
//! | [`document`] | policy documents: whether one is sound, what it says |
//! | [`managed`] | the policies that AWS manages |
//! | `linked` | the roles that services act in |
//! | [`sessions`] | temporary credentials |
//! | [`task_roles`] | those of tasks |
//! | [`machine_roles`] | those of machines |
//! | [`Error`] | why we refuse, in our words and in AWS's |
//! | `names` | user ids |
//! | `api` | the operations of IAM and STS |
//!
//! # What holds
//!
//! - A key id is unique across accounts, and finding it is one lookup.
//! - Secrets lie in the state store in the clear: a signature of version 4
//!   cannot be verified with less. Whoever can read the store owns the cluster.
//! - A principal's rights follow from what it is, and a session's from its role's
//!   policies as they are now. What cannot be told is not allowed.

pub mod accounts;
mod api;
mod authenticate;
pub mod bootstrap;
pub mod closing;
pub mod document;
pub mod error;
mod linked;
pub mod machine_roles;
pub mod managed;
mod names;
pub mod policy;
pub mod records;
pub mod roles;
pub mod sessions;
pub mod task_roles;

pub use bootstrap::{Key, bootstrap, node_key};
pub use closing::Closer;
pub use error::Error;

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
    registry
        .record::<records::AccessKey>()
        .record::<records::Account>()
        .record::<records::AccountsMade>()
        .record::<roles::Role>()
        .record::<sessions::Session>()
}
