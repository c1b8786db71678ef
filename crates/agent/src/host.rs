//! What the agent uses of its machine, opened and given back.

use crate::cleanup;
use crate::config::Config;
use crate::error::{Error, chain, unless_missing};
use crate::images::{self, Images, Limits, Loaded, OnProgress, Transfer};
use crate::netns::{Namespaces, Networks};
use crate::reserve::Reserve;
use crate::rim::{self, Rim, StateDir};
use crate::runtime::Containers;
use crate::runtime::cgroup::Cgroups;
use crate::runtime::connection::Connection;
use crate::runtime::containerd::Containerd;
use crate::runtime::process;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the agent uses of its machine.
pub struct Host {
    /// Containers and their images.
    pub containers: Arc<Containerd>,
    /// Network namespaces.
    pub networks: Arc<Namespaces>,
    /// What is remembered of tasks.
    pub state: StateDir,
    reserve: Reserve,
    connection: Connection,
    namespace: String,
    /// Where it says how far pulls are.
    transfers: PathBuf,
    /// Where our own containerd is, if we use our own.
    own: Option<process::Paths>,
}

/// Between looks at our own containerd.
const LOOK: Duration = Duration::from_secs(1);

impl Host {
    /// Opens everything; starts a containerd if the configuration names none and
    /// none runs yet.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        config.check()?;
        rim::make_private(&config.data_dir)?;
        rim::make_private(&config.run_dir)?;
        let connection = connect(config).await?;
        let images = Arc::new(Images::new(connection.clone(), config.image_settings()));
        let cgroups = Cgroups::find(&config.prefix)?;
        let containers = Containerd::new(connection.clone(), images, cgroups, config)?;
        containers.sweep_file_systems().await;
        Ok(Self {
            containers: Arc::new(containers),
            networks: Arc::new(Namespaces::new(config.prefix.as_str(), &config.run_dir)),
            state: StateDir::open(config.tasks_dir(), config.reserve())?,
            reserve: config.reserve(),
            connection,
            namespace: config.prefix.clone(),
            transfers: config.transfers(),
            own: config.containerd.is_none().then(|| config.containerd_paths()),
        })
    }

    /// Starts our own containerd again whenever it has ended. Its containers do
    /// not notice, but without it nobody hears of their end.
    pub async fn keep_containerd(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(paths) = &self.own else { continue };
            if process::running(paths).is_some() {
                continue;
            }
            tracing::warn!("containerd has ended; starting it again");
            if let Err(error) = process::start(paths, &self.namespace).await {
                tracing::error!(error = chain(&error), "containerd does not start");
            }
        }
    }

    /// Keeps what is known of images where it is looked for, and room on the disk.
    pub async fn keep_books(&self) -> Infallible {
        tokio::select! {
            never = self.containers.images().keep_books(&self.transfers) => never,
            never = self.reserve.keep() => never,
            never = self.containers.collect_garbage() => never,
        }
    }

    /// Removes the images that `rim` has no task for, as `limits` has it.
    pub async fn clean_up(&self, rim: &Rim, limits: Limits) -> Infallible {
        cleanup::run(self.containers.images(), rim, limits).await
    }

    /// Loads the images of an archive.
    pub async fn load_image(
        &self,
        archive: &Path,
        progress: Option<&OnProgress>,
    ) -> Result<Vec<Loaded>, Error> {
        Ok(images::load(&self.connection, archive, progress).await?)
    }
}

async fn connect(config: &Config) -> Result<Connection, Error> {
    Ok(match &config.containerd {
        Some(socket) => Connection::open(socket, &config.prefix).await?,
        None => process::start(&config.containerd_paths(), &config.prefix).await?,
    })
}

/// Loads the images of an archive (an OCI layout, or what `docker save` makes)
/// into the containerd that this configuration means, whether or not an agent runs.
pub async fn load_image(
    config: &Config,
    archive: &Path,
    progress: Option<&OnProgress>,
) -> Result<Vec<Loaded>, Error> {
    Host::open(config).await?.load_image(archive, progress).await
}

/// What an agent of this configuration is pulling, if one runs.
pub fn transfers(config: &Config) -> Result<Vec<Transfer>, Error> {
    let path = config.transfers();
    images::told(&path).map_err(Error::io("read", path))
}

/// What a [`teardown`] leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The images, and the volumes that no task owns, for the next agent of this
    /// configuration.
    Images,
    /// Nothing, but for images in a containerd that is not ours.
    Nothing,
}

/// Removes what agents of this configuration made on this machine: containers,
/// namespaces, cgroups, the containerd that was started, and what is remembered
/// of tasks, their output included. Volumes that no task owns stay with the images.
///
/// Goes on after a failure, and answers with the first.
pub async fn teardown(config: &Config, leave: Leave) -> Result<(), Error> {
    config.check()?;
    let mut first: Result<(), Error> = Ok(());
    let mut note = |result: Result<(), Error>| {
        if let Err(error) = result {
            tracing::warn!(error = chain(&error), "teardown goes on");
            if first.is_ok() {
                first = Err(error);
            }
        }
    };
    let paths = config.containerd_paths();
    // Containers outlive a containerd that died, so one is started to end them.
    let used = config.containerd.is_some() || paths.data.exists();
    if used {
        match Host::open(config).await {
            Ok(host) => {
                note(delete_containers(&host).await);
                process::leave(&host.connection, &config.prefix).await;
            }
            Err(error) => note(Err(error)),
        }
    }
    let networks = Namespaces::new(config.prefix.as_str(), &config.run_dir);
    match networks.list() {
        Ok(ids) => {
            for id in ids {
                note(networks.remove(&id).await.map_err(Error::from));
            }
        }
        Err(error) => note(Err(error.into())),
    }
    note(networks.dismantle().await.map_err(Error::from));
    if config.containerd.is_none() {
        note(process::stop(&paths).await.map_err(Error::from));
        if leave == Leave::Nothing {
            note(remove_dir(&paths.data));
            note(remove_file(&config.image_settings().memory));
            config.reserve().give_up();
        }
    }
    match Cgroups::find(&config.prefix) {
        Ok(cgroups) => note(cgroups.remove_all().map_err(Error::from)),
        Err(error) => note(Err(error.into())),
    }
    let memory = crate::runtime::remove_shared_memory(&config.prefix);
    note(memory.map_err(Error::io("remove what is in", "/dev/shm")));
    if leave == Leave::Nothing {
        note(remove_dir(&config.shared_volumes()));
    }
    note(remove_dir(&config.tasks_dir()));
    note(remove_dir(&config.run_dir));
    first
}

async fn delete_containers(host: &Host) -> Result<(), Error> {
    let found = host.containers.list().await?;
    // The last one made goes first, since the first one holds the shim.
    for runtime_id in found.keys().rev() {
        host.containers.delete(runtime_id).await?;
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_dir_all(dir)).map_err(Error::io("remove", dir))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_file(path)).map_err(Error::io("remove", path))
}
