//! ACS, over which a control plane tells an ECS agent what to run: the frames of
//! both directions.
//!
//! A frame is `{"type": …, "message": {…}}`. An agent must tolerate types it has
//! never heard of, and so does [`Message`].

mod generated;
pub use generated::*;
