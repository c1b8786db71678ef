//! What every service of Landfall is mounted on.

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
mod secret;
mod service;
mod shutdown;
mod socket;

pub use auth::{Authenticator, Caller, KeyInfo, Principal};
pub use clock::{Clock, SystemClock};
pub use controller::{BoxError, Controller, Supervisor};
pub use cx::{Cx, Platform};
pub use edge::{Edge, Options};
pub use entropy::{Entropy, OsEntropy};
pub use metrics::{Count, Label, Metrics};
pub use secret::Secret;
pub use service::{Ec2, Ecs, Service, Sts};
pub use shutdown::{Shutdown, Trigger};
pub use socket::{Closed, Outgoing, Peer, Query, Socket, SocketService};

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
