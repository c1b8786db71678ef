//! AWS IAM: the shapes of the operations we serve, the trait that a shell
//! implements, and the way from bytes to the trait and back ([`serve`]).

mod generated;
mod generated_schema;
pub use generated::*;
