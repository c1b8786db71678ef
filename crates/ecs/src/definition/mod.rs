//! What a task definition says, judged: whether it is sound, what it needs of a
//! machine, and what of it we cannot obey yet.
//!
//! Each family of rules has a file. Rules that hold everywhere are checked when a
//! definition is registered; those of one way to run it ([`fargate`], [`external`],
//! [`managed`]) are checked if the definition requires that way, and otherwise only
//! decide what it is compatible with.

mod accept;
mod capabilities;
mod compatible;
mod container;
mod dependencies;
mod environment;
mod external;
mod fargate;
mod health;
mod lacking;
mod linux;
mod logging;
mod managed;
mod network;
mod ports;
mod size;
mod volumes;
mod windows;

pub(crate) use accept::accept;
pub(crate) use capabilities::capabilities;
pub(crate) use compatible::compatibilities;
pub(crate) use container::memory;
pub(crate) use lacking::unsupported;
pub(crate) use size::{parse_memory, task_cpu};

use crate::Error;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Whether a number, if there is one, is in its bounds, which are said if not.
fn within(what: &str, number: Option<i32>, bounds: &RangeInclusive<i32>) -> Result<(), String> {
    match number {
        Some(number) if !bounds.contains(&number) => {
            let (least, most) = (bounds.start(), bounds.end());
            Err(if *most == i32::MAX {
                format!("'{what}' must be at least {least}.")
            } else {
                format!("'{what}' must be between {least} and {most}.")
            })
        }
        _ => Ok(()),
    }
}

/// The same of a number of the container `name`.
fn bounded(
    name: &str,
    what: &str,
    number: Option<i32>,
    bounds: RangeInclusive<i32>,
) -> Result<(), Error> {
    within(what, number, &bounds).map_err(|text| invalid(name, &text))
}

/// Something about the container `name` is wrong.
fn invalid(name: &str, what: &str) -> Error {
    Error::refused(format!("Invalid setting for container '{name}'. {what}"))
}

/// The first of the conditions that holds, as the refusal that `text` makes of it.
fn none_of<const N: usize>(
    table: [(&str, bool); N],
    text: impl Fn(&str) -> String,
) -> Result<(), Error> {
    match table.into_iter().find(|(_, there)| *there) {
        None => Ok(()),
        Some((what, _)) => Err(Error::refused(text(what))),
    }
}

/// Whether a list is there and has something in it.
fn given<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// Whether a text is missing or empty.
fn blank(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

/// The first thing that comes a second time.
fn repeated<T: Ord + Copy>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    all.find(|it| !seen.insert(*it))
}

#[cfg(test)]
mod testing;
