//! What containers wrote: kept within bounds, and read by whoever wants to.
//!
//! A process beside each container, which its shim starts, appends to a plain file,
//! whether or not an agent runs, so that nobody who does not read can hold a container
//! up; nor can a full disk, for which what finds no room is lost. What is too much is
//! given back to the disk from the front ([`bounds`]): the file keeps its length
//! and gets a hole, and every byte in it its place. Beside it lie the times at
//! which it was how long ([`times`]).

mod bounds;
mod read;
mod times;

pub(crate) use bounds::keep;
pub use read::{Piece, Reader};

use crate::config::Config;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

/// The output of one container: standard output and error, as they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output {
    /// The task's id.
    pub task: String,
    /// The container's name.
    pub container: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Every output that the agent of this configuration keeps, by task and
/// container. It is kept until the task has been over for some hours.
pub fn outputs(config: &Config) -> io::Result<Vec<Output>> {
    below(&config.tasks_dir())
}

fn below(tasks: &Path) -> io::Result<Vec<Output>> {
    let mut found = Vec::new();
    for task in entries(tasks)? {
        if !task.file_type()?.is_dir() {
            continue;
        }
        for file in entries(&task.path())? {
            let path = file.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            if let Some(container) = name.filter(|_| path.extension().is_some_and(|e| e == "log")) {
                let task = task.file_name().to_string_lossy().into_owned();
                found.push(Output { task, container, path });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What a directory holds; nothing, if it is gone, as a task's is at any time.
fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
