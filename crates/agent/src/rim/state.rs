//! The engine's memory on disk: one file per task.
//!
//! A file is written aside, flushed, and renamed into place, so that after a
//! crash there is the old state or the new, never half of one.

use crate::engine::{EngineState, Task, TaskArn};
use crate::error::{Error, unless_missing};
use crate::reserve::Reserve;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "state.json";

/// A task as it is on disk. Older versions are read by whoever adds a newer one.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    task: T,
}

const VERSION: u32 = 1;

/// The directory with a directory per task.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
    reserve: Reserve,
}

impl StateDir {
    /// Opens it, making it if need be. When its disk is full, `reserve` is given up.
    pub fn open(dir: PathBuf, reserve: Reserve) -> Result<Self, Error> {
        fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
        Ok(Self { dir, reserve })
    }

    /// Where the things of a task are.
    pub fn task_dir(&self, task: &TaskArn) -> PathBuf {
        self.dir.join(task.id())
    }

    /// Everything that was saved.
    ///
    /// A file that cannot be read stops the agent: to go on without it would be
    /// to take its task's containers for strays, and to kill them.
    pub fn load(&self) -> Result<EngineState, Error> {
        let mut state = EngineState::default();
        let entries = fs::read_dir(&self.dir).map_err(Error::io("read", &self.dir))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.dir))?.path().join(FILE);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", path)(error)),
            };
            let envelope: Envelope<Task> = serde_json::from_slice(&bytes)
                .map_err(|source| Error::State { path: path.clone(), source })?;
            state.tasks.insert(envelope.task.spec.arn.clone(), envelope.task);
        }
        Ok(state)
    }

    /// Saves a task; durable on return.
    pub fn save(&self, task: &Task) -> Result<(), Error> {
        let dir = self.task_dir(&task.spec.arn);
        let path = dir.join(FILE);
        let bytes = serde_json::to_vec(&Envelope { version: VERSION, task })
            .map_err(|source| Error::State { path: path.clone(), source })?;
        let write = || make_private(&dir).and_then(|()| write_durably(&path, &bytes));
        match write() {
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::StorageFull && self.reserve.give_up() =>
            {
                write()
            }
            other => other,
        }
    }

    /// Where the volumes are that are a task's own.
    pub fn volumes_dir(&self, task: &TaskArn) -> PathBuf {
        self.task_dir(task).join("volumes")
    }

    /// Removes the volumes of a task that is over: they may be large.
    pub fn remove_volumes(&self, task: &TaskArn) -> Result<(), Error> {
        remove(&self.volumes_dir(task))
    }

    /// Removes all there is of a task.
    pub fn forget(&self, task: &TaskArn) -> Result<(), Error> {
        remove(&self.task_dir(task))
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_dir_all(dir)).map_err(Error::io("remove", dir))
}

/// A directory that only we may look into: state can hold secrets.
pub(crate) fn make_private(dir: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(Error::io("make", dir))
}

/// Replaces a file as a whole. Not durable: for what is of no use after a boot.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}

/// Replaces a file as a whole; durable on return.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The name is only as durable as the directory that holds it.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(Error::io("write", path))
}
