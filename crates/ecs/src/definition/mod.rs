//! What a task definition says, judged: whether it is sound, what it needs of a
//! machine, and what of it we cannot obey yet.

mod accept;
mod compatible;
mod size;

pub(crate) use accept::accept;
pub(crate) use compatible::{capabilities, compatibilities, unsupported};
pub(crate) use size::{parse_cpu, parse_memory};
