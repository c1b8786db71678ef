//! TCS: hearing from agents how containers fare.
//!
//! Container health reaches us only here. Metrics are acknowledged and not kept:
//! nobody can ask for them yet.

mod session;
mod socket;

pub use session::{News, TcsSession, record};
pub use socket::TcsService;
