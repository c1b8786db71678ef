//! ACS: telling agents what to run.
//!
//! A session ([`AcsSession`]) is a state machine without a socket: it looks at
//! the state, says which frames are owed to the agent, and hears what the agent
//! answers. The socket around it ([`AcsService`]) moves texts and waits.

mod docker;
pub(crate) mod end;
mod payload;
#[cfg(test)]
mod replay_tests;
mod session;
mod sessions;
mod socket;

pub use payload::{Uncompilable, compile};
pub use session::AcsSession;
pub use sessions::{Seat, Sessions, connect, disconnect, disconnect_in};
pub use socket::AcsService;
pub(crate) use socket::admitted;
