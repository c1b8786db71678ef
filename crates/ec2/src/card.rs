//! Talking to the cards: the node programs that make interfaces exist.
//!
//! A card is told everything that its node must have, as one document, whenever
//! that changes; it answers with what it has. [`session`] decides what is said
//! and what an answer means, without a network, so that the simulator can run
//! it. [`socket`] carries it over a websocket. [`frame`] is what lies on the wire.

pub mod frame;
pub mod session;
pub mod socket;

pub use frame::Frame;
pub use session::{CardSession, plan_for, plan_of};
pub use socket::{CardSocket, PATH};

#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;
