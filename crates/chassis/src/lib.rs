//! What every service of Landfall is mounted on.
//!
//! A service implements the operations of its AWS model on a [`Cx`]; the chassis
//! does what all of them have in common, so that it is done once and the same.
//!
//! # Map
//!
//! | part | what it does |
//! |---|---|
//! | [`Edge`] | the one endpoint: HTTP and websockets, who may, counting, logging |
//! | [`Service`], [`SocketService`] | what is mounted on it |
//! | [`Authenticator`], [`Caller`] | the edge's questions about keys and rights |
//! | [`Platform`], [`Cx`] | state, time and chance, for handlers and controllers |
//! | [`Controller`], [`Supervisor`] | what keeps the world as the state says |
//! | [`Tenancy`] | what is to be done before an account is forgotten |
//! | [`paging`], [`idempotency`] | what lists and requests have in common |
//! | [`regions`] | which there are |
//! | [`Metrics`] | what has been asked |
//! | [`fake`] | a clock and chance that do as told, for tests and the simulator |
//!
//! # What holds
//!
//! - The clock is read and entropy drawn in one place each. A handler or a
//!   controller that keeps to its `Cx` runs unchanged in the simulator.
//! - Before a request's signature is verified, its body is looked at only to
//!   find out in which protocol to refuse it.
//! - A request that was let in is carried out to its end and counted, whether or
//!   not anybody still waits for the answer. A panic ends one request.
//! - Whatever a client can make us keep has a limit: heads, bodies (before and
//!   after decompression), frames, queues, connections, time.

mod auth;
mod clock;
mod controller;
mod cx;
mod edge;
mod entropy;
pub mod fake;
pub mod idempotency;
mod metrics;
pub mod paging;
mod quotas;
pub mod regions;
mod secret;
pub mod service;
mod shutdown;
mod socket;
mod tenancy;

pub use auth::{Authenticator, Caller, KeyInfo, Principal, RoleSession};
pub use clock::{Clock, SystemClock};
pub use controller::{BoxError, Controller, Supervisor};
pub use cx::{Cx, Platform};
pub use edge::{Edge, Expose, Options};
pub use entropy::{Entropy, OsEntropy};
pub use metrics::{Count, Label, Metrics};
pub use quotas::{MOST_RULES_PER_INTERFACE, QuotaError, Quotas};
pub use secret::Secret;
pub use service::Service;
pub use shutdown::{Shutdown, Trigger};
pub use socket::{Closed, Outgoing, Peer, Query, Socket, SocketService};
pub use tenancy::Tenancy;

use store::Registry;

/// `registry`, and the records that the chassis keeps.
#[must_use]
pub fn records(registry: Registry) -> Registry {
    registry.record::<idempotency::Remembered>()
}

/// What a panic said, as far as it said it in words.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is not text")
}
