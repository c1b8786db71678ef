//! Containers, as the rim needs them: the seam between what the engine wants
//! and the program that does it.
//!
//! [`Containers`] is the whole of it. [`containerd::Containerd`] is the real
//! one; tests have one that behaves the same and holds nothing.

mod allowance;
pub mod cgroup;
pub mod connection;
pub mod containerd;
mod devices;
mod environment;
mod exec;
mod image_root;
mod init;
mod mounts;
pub mod process;
mod remains;
mod resources;
mod seccomp;
pub mod spec;
mod user;
mod volumes;

pub use init::IMAGE as PAUSE;
pub(crate) use mounts::remove_shared_memory;
pub(crate) use volumes::{Declared, Directories, Mounted, mounted};

use crate::engine::{
    Checkup, Exit, Failure, FoundState, HealthCheck, RegistryLogin, Signal, TaskSpec,
};
use crate::netns::Place;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why the runtime would not, or could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd cannot be reached at its socket.
    #[error("containerd cannot be reached at {socket}")]
    #[allow(missing_docs)]
    Connect { socket: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// containerd said no.
    #[error("containerd did not {what}")]
    #[allow(missing_docs)]
    Rpc { what: &'static str, source: Box<tonic::Status> },
    /// Something is wrong with a file.
    #[error("cannot {what} {path}")]
    #[allow(missing_docs)]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// What is asked of a container cannot be said in a runtime specification.
    #[error("invalid container: {0}")]
    Spec(String),
    /// The image has no such user or group.
    #[error("{0}")]
    NoUser(String),
    /// A device is none, or not there.
    #[error("error gathering device information while adding custom device {path:?}: {problem}")]
    #[allow(missing_docs)]
    NoDevice { path: String, problem: &'static str },
    /// What a container mounts is none of the task's volumes.
    #[error("Invalid volume referenced: {0}")]
    NoVolume(String),
    /// A file of variables cannot be had.
    #[error("failed to download env files: {0}")]
    NoVariables(String),
    /// The image of a container is not here.
    #[error("image {0} is not here")]
    NoImage(String),
    /// An image is not made as it should be.
    #[error("image {name} is malformed: {problem}")]
    #[allow(missing_docs)]
    BadImage { name: String, problem: String },
    /// Our own containerd does not start.
    #[error("containerd does not start: {0}")]
    NoStart(String),
}

impl Error {
    /// Wraps a status.
    pub fn rpc(what: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |status| Self::Rpc { what, source: Box::new(status) }
    }

    /// Wraps a trouble with a file.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.into(), source }
    }

    /// Whether containerd has never heard of it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.code() == tonic::Code::NotFound)
    }

    /// Whether containerd went away before it answered: what was asked of it may be
    /// done or not.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Rpc { source, .. } => is_lost(source),
            Self::Connect { .. } => true,
            Self::Io { .. }
            | Self::Spec(_)
            | Self::NoUser(_)
            | Self::NoDevice { .. }
            | Self::NoVolume(_)
            | Self::NoVariables(_)
            | Self::NoImage(_)
            | Self::BadImage { .. }
            | Self::NoStart(_) => false,
        }
    }

    /// Whether containerd has it already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.code() == tonic::Code::AlreadyExists)
    }

    /// What the runtime said, for the person whose container it was.
    pub fn message(&self) -> String {
        match self {
            Self::Rpc { source, .. } => source.message().to_owned(),
            Self::Connect { .. }
            | Self::Io { .. }
            | Self::Spec(_)
            | Self::NoUser(_)
            | Self::NoDevice { .. }
            | Self::NoVolume(_)
            | Self::NoVariables(_)
            | Self::NoImage(_)
            | Self::BadImage { .. }
            | Self::NoStart(_) => crate::error::chain(self),
        }
    }
}

/// Whether a status is none that containerd gave: only those have no cause.
fn is_lost(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The digest that the registry, or the archive, gives it.
    pub digest: String,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The runtime's name for it.
    pub runtime_id: &'a str,
    /// Its task.
    pub task: &'a TaskSpec,
    /// Its position in the task.
    pub index: usize,
    /// The task's network namespace; the host's if there is none.
    pub netns: Option<PathBuf>,
    /// What it is called on the network, which its files say too.
    pub hostname: String,
    /// The directory of its `hosts`, `hostname` and `resolv.conf`.
    pub files: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// The directory of the task's own volumes.
    pub volumes: PathBuf,
    /// Environment that every container gets unless it brings its own.
    pub environment: BTreeMap<String, String>,
}

/// Why waiting ended without an exit code.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The runtime does not know the container.
    #[error("the container is gone")]
    Gone,
    /// The runtime cannot be asked; it may come back.
    #[error("the runtime does not answer")]
    Unreachable(#[source] Error),
}

/// What a container uses now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since it started.
    pub cpu_nanos: u64,
    /// Of that, in the container's own programs.
    pub user_nanos: u64,
    /// Of that, in the kernel for them.
    pub kernel_nanos: u64,
    /// Memory, without the part of the page cache that can be had back.
    pub memory_bytes: u64,
    /// That part of the page cache.
    pub cache_bytes: u64,
    /// Its processes and threads.
    pub processes: u64,
    /// What it has read of and written to disks, as far as the kernel knows whose a
    /// transfer is: with one tree per controller, writes through the page cache are
    /// nobody's.
    pub disks: Vec<Disk>,
}

/// The use of one disk since the container started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Disk {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub written_bytes: u64,
}

impl Usage {
    /// Read of all disks.
    pub fn read_bytes(&self) -> u64 {
        self.disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.read_bytes))
    }

    /// Written to all disks.
    pub fn written_bytes(&self) -> u64 {
        self.disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.written_bytes))
    }
}

/// What the rim needs of a container runtime.
#[async_trait]
pub trait Containers: Send + Sync + 'static {
    /// Sees to it that an image is here; if it has to come from somewhere, then by way
    /// of `place`.
    async fn pull(
        &self,
        image: &str,
        login: &RegistryLogin,
        place: &Place,
    ) -> Result<Pulled, Failure>;
    /// Makes of a container what needs no network yet, so that it can be done while
    /// that is made. What fails here fails again in [`Containers::create`].
    async fn prepare(&self, order: &Order<'_>);
    /// Makes a container whose process waits, replacing one half made.
    async fn create(&self, order: &Order<'_>) -> Result<(), Failure>;
    /// Lets the process go.
    async fn start(&self, runtime_id: &str) -> Result<(), Failure>;
    /// Starts the process of a container, which has ended, once more, in the file
    /// system that it left.
    async fn restart(&self, order: &Order<'_>) -> Result<(), Failure>;
    /// Runs a health check inside a container, and says what came of it. One that takes
    /// longer than its time is ended, and has failed.
    async fn check(&self, runtime_id: &str, check: &HealthCheck) -> Result<Checkup, Error>;
    /// Waits for the end of the process.
    async fn wait(&self, runtime_id: &str) -> Result<Exit, WaitError>;
    /// Sends a signal.
    async fn signal(&self, runtime_id: &str, signal: Signal) -> Result<(), Error>;
    /// Removes whatever there is, by force.
    async fn delete(&self, runtime_id: &str) -> Result<(), Error>;
    /// Removes what the containers of a task shared.
    async fn delete_task(&self, task_id: &str) -> Result<(), Error>;
    /// Everything there is.
    async fn list(&self) -> Result<BTreeMap<String, FoundState>, Error>;
    /// What a container uses, if it runs.
    async fn usage(&self, runtime_id: &str) -> Option<Usage>;
    /// How many bytes of disk it takes up beyond its image: none if it is not there. Each
    /// of its files is looked at for that.
    async fn written(&self, runtime_id: &str) -> Result<u64, Error>;
}
