//! The ECS agent.

mod clock;
mod config;
pub mod engine;
mod error;
mod host;
pub mod images;
pub mod netns;
pub mod rim;
pub mod runtime;

pub use config::Config;
pub use error::{Error, chain};
pub use host::{Host, load_image, logs, teardown};
