//! What a task definition says, judged: whether it is sound, what it needs of a
//! machine, and what of it we cannot obey yet.

mod accept;
mod compatible;
mod container;
mod ports;
mod size;

pub(crate) use accept::accept;
pub(crate) use compatible::{capabilities, compatibilities, unsupported};
pub(crate) use container::memory;
pub(crate) use size::{parse_memory, task_cpu};

/// Whether a number, if there is one, is in its bounds, which are said if not.
fn within(
    what: &str,
    number: Option<i32>,
    bounds: &std::ops::RangeInclusive<i32>,
) -> Result<(), String> {
    match number {
        Some(number) if !bounds.contains(&number) => {
            let (least, most) = (bounds.start(), bounds.end());
            Err(format!("'{what}' must be between {least} and {most}."))
        }
        _ => Ok(()),
    }
}
