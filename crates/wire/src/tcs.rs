//! TCS, over which an ECS agent tells its control plane how containers fare: the
//! frames of both directions.
//!
//! Each frame of an agent carries a signed header block of its own in front of
//! the JSON ([`split`]); the control plane's frames are plain JSON.

mod generated;
pub use generated::*;

/// Splits an agent's frame into its header block, if it has one, and its JSON.
pub fn split(frame: &str) -> (&str, &str) {
    match frame.split_once("\r\n\r\n") {
        Some((headers, json)) if !frame.trim_start().starts_with('{') => (headers, json),
        _ => ("", frame),
    }
}
