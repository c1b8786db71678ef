//! The words of AWS: what its services, and its ECS agent, say to each other,
//! in bytes.
//!
//! - One module per service ([`ecs`], [`ec2`], [`iam`], [`sts`], and [`landfall`] for
//!   what AWS has no API for) with plain structs for
//!   its shapes, a trait `Api` with a method per operation, and `serve`, which
//!   takes a request's bytes to the trait and the answer's back.
//! - [`acs`] and [`tcs`]: the websocket frames of the agent protocol.
//! - [`protocol`]: which service and operation a request is for.
//! - [`sigv4`]: who sent it. [`client`]: the same from the other side.
//! - [`Fault`]: the one error, and how each protocol puts it.
//!
//! There is no socket, no runtime and no clock here. The shapes are generated
//! from `models/` by `cargo xtask codegen`; what is written by hand is written
//! once for all of them, driven by the tables of [`schema`].

pub mod acs;
pub mod blob;
pub mod client;
mod codec;
pub mod constraint;
pub mod ec2;
pub mod ecs;
mod fault;
mod form;
mod frame;
pub mod iam;
mod json;
pub mod landfall;
pub mod protocol;
pub mod schema;
pub mod service;
pub mod sigv4;
pub mod sts;
pub mod tcs;
mod timestamp;
mod xml;

pub use codec::{Body, Request};
pub use constraint::Violation;
pub use fault::{Fault, respond};
pub use service::{Operation, Protocol, Service};
pub use timestamp::Timestamp;
