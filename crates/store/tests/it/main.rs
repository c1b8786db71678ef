//! The store on its own memory backend.

mod derived;
mod encoding;
mod inline;
mod model;

store::conformance_suite!(store::conformance::MemoryMedium::default());
