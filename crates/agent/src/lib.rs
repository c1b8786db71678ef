//! Landfall's ECS agent: it takes tasks from an ECS control plane and runs them
//! on this machine, each in a network namespace of its own.
//!
//! It speaks the protocol of the official agent, so that either can stand on a
//! node, and it knows nothing of the other programs there: an interface with the
//! right MAC appears, and that is all.
//!
//! - [`engine`] decides. It is pure: no clock, no file, no thread.
//! - [`rim`] carries out what it decides, and keeps its memory on disk.
//! - [`runtime`], [`images`] and [`netns`] are what the rim works with. A program that
//!   runs inside containers, as their first process, is in `init/`.
//! - [`acs`], [`tcs`] and [`api`] are the ways to the control plane.
//! - [`run`] puts them together; [`teardown`] leaves no trace of them.
//!
//! Invariants:
//! - Containers outlive the agent. Ending it, by whatever means, stops nothing;
//!   the next one finds what runs and goes on.
//! - Nothing is acknowledged, and nothing acted on, before it is on disk.
//! - Everything made on the machine bears [`Config::prefix`] or lies below
//!   [`Config::data_dir`] and [`Config::run_dir`], and [`teardown`] removes it.
//! - Every queue is bounded and every step has a time limit.

pub mod acs;
pub mod api;
mod backoff;
mod cleanup;
mod clock;
mod config;
mod credentials;
mod endpoints;
pub mod engine;
mod error;
mod host;
pub mod images;
pub mod netns;
mod output;
mod reserve;
pub mod rim;
mod run;
pub mod runtime;
mod socket;
mod tcs;
mod usage;

pub use config::Config;
pub use error::{Error, chain};
pub use host::{Host, Leave, load_image, teardown, transfers};
pub use output::{Output, Piece, Reader, outputs};
pub use reserve::Reserve;
pub use run::run;
pub use usage::Exposition;

/// The version that we report. The control plane and tools compare it with the
/// official agent's, whose behaviour ours is modelled on.
pub(crate) const VERSION: &str = "1.105.1";
/// The commit that we report; ours has none of theirs.
pub(crate) const HASH: &str = "landfall";
