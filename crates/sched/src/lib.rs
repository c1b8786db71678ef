//! Where tasks go, and how they live and end.
//!
//! Everything here is a function of its arguments: no clock, no entropy, no
//! floating point, no unordered map. Whoever wants to know why a task was placed
//! where it was asks again with the same view and the same seed.
//!
//! - [`lifecycle`]: the phases of a task, what moves it on, what is owed to it.
//! - [`resources`]: what a machine has, what a task needs, what remains.
//! - [`placement`]: which machine a task goes to, and why not to the others.
//! - [`query`]: which machines an expression of the cluster query language selects.
#![no_std]

extern crate alloc;

pub mod lifecycle;
pub mod placement;
pub mod query;
pub mod resources;
