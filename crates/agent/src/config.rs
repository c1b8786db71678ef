//! What the agent has to be told.

use crate::engine;
use crate::error::Error;
use crate::images::{Limits, PullBehavior, Registries, Settings};
use crate::reserve::Reserve;
use crate::runtime::process::Paths;
use crate::usage::Exposition;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wire::sigv4::Credentials;

/// What the agent has to be told. A struct to be filled in where the program is
/// put together; nothing here is read from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name or ARN of the cluster to join.
    pub cluster: String,
    /// The region to sign for.
    pub region: String,
    /// Where the ECS API answers: `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// The keys to sign with.
    pub credentials: Credentials,
    /// What must survive a reboot: images, state, logs.
    pub data_dir: PathBuf,
    /// What must not: sockets. Keep it short; a socket's path has room for 108 bytes.
    pub run_dir: PathBuf,
    /// The socket of a containerd to use; a private one is started if there is none.
    pub containerd: Option<PathBuf>,
    /// With which the names of all we make begin (network namespaces, cgroups,
    /// containerd's namespace), so that two installations can share a machine.
    /// Letters and digits only.
    pub prefix: String,
    /// The instance identity document to register with.
    pub identity_document: String,
    /// Its signature.
    pub identity_signature: String,
    /// CPU units to offer, 1024 to a core; all there are if absent.
    pub cpu: Option<u32>,
    /// Memory to offer, in MiB; all there is if absent.
    pub memory_mib: Option<u32>,
    /// When images are asked of their registries.
    pub image_pull_behavior: PullBehavior,
    /// How registries are reached.
    pub registries: Registries,
    /// When images go that nobody uses.
    pub image_limits: Limits,
    /// What the engine is told.
    pub engine: engine::Settings,
    /// How many bytes of disk the output of one container may take; what is older
    /// goes first.
    pub max_output: u64,
    /// Where the machine's operator can ask what runs here, as the official agent
    /// answers at port 51678; nowhere if absent.
    pub introspection: Option<SocketAddr>,
    /// Where what containers use is shown.
    pub exposition: Exposition,
    /// Between two counts of what a task has written to disk, at the least.
    pub storage_pause: Duration,
    /// The id of the availability zone that the machine is in, `use1-az1`, if it is
    /// known: tasks are told.
    pub zone_id: Option<String>,
    /// Attributes to register beyond our own.
    pub attributes: Vec<(String, String)>,
    /// From which the jitter of timers and retries is derived.
    pub seed: u64,
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), Error> {
        let plain = self.prefix.chars().all(|c| c.is_ascii_alphanumeric());
        if self.prefix.is_empty() || self.prefix.len() > 32 || !plain {
            let problem = "the prefix must be 1 to 32 letters and digits".to_owned();
            return Err(Error::Config(problem));
        }
        let Limits { full, relieved, .. } = self.image_limits;
        if relieved > full || full > 100 {
            let problem =
                format!("a disk that is full at {full} % is not relieved at {relieved} %");
            return Err(Error::Config(problem));
        }
        for dir in [&self.data_dir, &self.run_dir] {
            if !dir.is_absolute() || dir.to_str().is_none() {
                let problem = format!("{} is not an absolute path in UTF-8", dir.display());
                return Err(Error::Config(problem));
            }
        }
        Ok(())
    }

    pub(crate) fn containerd_paths(&self) -> Paths {
        Paths { data: self.data_dir.join("containerd"), run: self.run_dir.clone() }
    }

    /// Where the volumes are that no task owns.
    pub(crate) fn shared_volumes(&self) -> PathBuf {
        self.data_dir.join("volumes")
    }

    pub(crate) fn runc_root(&self) -> PathBuf {
        self.run_dir.join("runc")
    }

    pub(crate) fn image_settings(&self) -> Settings {
        Settings {
            behavior: self.image_pull_behavior,
            registries: self.registries.clone(),
            memory: self.data_dir.join("images.json"),
            unfinished: self.image_limits.unfinished,
            reserve: self.reserve(),
        }
    }

    pub(crate) fn reserve(&self) -> Reserve {
        Reserve::new(self.data_dir.join("reserve"))
    }

    /// The file that says which images are being pulled, and how far.
    pub(crate) fn transfers(&self) -> PathBuf {
        self.run_dir.join("pulls.json")
    }

    pub(crate) fn tasks_dir(&self) -> PathBuf {
        self.data_dir.join("tasks")
    }
}
