//! Images: into containerd's store, from a registry or from an archive.
//!
//! containerd 1.6, which distributions still ship, cannot pull by itself, and none
//! can pull through a task's own interface; so we speak to the registry and hand
//! containerd the blobs. While that is under way a lease keeps its garbage
//! collector off; afterwards labels do: the image record holds the manifest, the
//! manifest its layers and configuration, and the configuration the unpacked file
//! system.
//!
//! - [`reference`] knows what the name of an image says, [`registry`] who has it, [`trust`]
//!   who has to prove what, [`logins`] who we say we are, [`pull`] what to ask for, [`layer`]
//!   how to go on with half a blob, and [`trouble`] what to say if all of it is in vain;
//! - [`archive`] needs no registry;
//! - [`blob`] and [`unpack`] are what containerd does of it;
//! - [`usage`] remembers, [`progress`] tells, [`collect`] removes, and [`garbage`]
//!   sees to it that what is removed is gone.

mod archive;
mod blob;
mod collect;
mod garbage;
mod layer;
mod logins;
mod manifest;
mod progress;
mod pull;
mod reference;
mod registry;
mod trouble;
mod trust;
mod unpack;
mod usage;

pub use archive::{Loaded, load};
pub(crate) use blob::digest;
pub use collect::Limits;
pub(crate) use manifest::architecture;
pub use progress::{Transfer, told};
pub use registry::Registries;
pub use trouble::PullError;

use crate::engine::RegistryLogin;
use crate::netns::{self, Place};
use crate::reserve::Reserve;
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use containerd_client::services::v1 as api;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use layer::Turns;
use progress::Transfers;
use registry::Sources;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use usage::Usage;

/// The snapshotter that holds root file systems.
pub const SNAPSHOTTER: &str = "overlayfs";

/// When an image is asked of its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBehavior {
    /// Every time; if that fails, the image that is here will do.
    Default,
    /// Every time; if that fails, so does the task.
    Always,
    /// Once per image, by whichever agent of this machine; what came otherwise is
    /// not trusted to be what the registry has. Again once it was removed.
    Once,
    /// If it is not here. This is Landfall's default, though not the official
    /// agent's: most of its machines sit far from any registry, and a task from a
    /// cached image starts in a tenth of a second.
    #[default]
    PreferCached,
}

impl fmt::Display for PullBehavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Always => "always",
            Self::Once => "once",
            Self::PreferCached => "prefer-cached",
        })
    }
}

impl FromStr for PullBehavior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "always" => Ok(Self::Always),
            "once" => Ok(Self::Once),
            "prefer-cached" => Ok(Self::PreferCached),
            _ => Err(format!("{text:?} is none of default, always, once, prefer-cached")),
        }
    }
}

/// How far the transfer of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which blob.
    pub digest: String,
    /// How much of it is done, in bytes.
    pub done: u64,
    /// How large it is.
    pub total: u64,
}

/// Is told how far a transfer is.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What an image says about its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct ImageConfig {
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub stop_signal: Option<String>,
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
}

/// An image that is here and unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its full name.
    pub name: String,
    /// The digest its registry knows it by.
    pub digest: String,
    /// The snapshot that is its root file system.
    pub chain_id: String,
    /// What it says about its processes.
    pub config: ImageConfig,
}

/// The full name of an image: `busybox` is `docker.io/library/busybox:latest`.
pub fn full_name(image: &str) -> Result<String, Error> {
    let reference = reference::read(image);
    let bad = |problem| Error::BadImage { name: image.to_owned(), problem };
    reference.map(|reference| reference.whole()).map_err(bad)
}

/// How images are had here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When they are asked of their registries.
    pub behavior: PullBehavior,
    /// How those are reached.
    pub registries: Registries,
    /// The file in which is kept when each was last used.
    pub memory: PathBuf,
    /// How long what has come of a pull is kept that came to nothing.
    pub unfinished: Duration,
    /// What is given up when they find no room.
    pub reserve: Reserve,
}

type Pull = BoxFuture<'static, Result<Arc<Image>, Arc<PullError>>>;

/// Which pulls are one: of the same image, with the same password, from the same
/// network.
type Key = (String, String, Place);

/// The images of one containerd.
pub struct Images {
    connection: Connection,
    behavior: PullBehavior,
    registries: Registries,
    /// What is being fetched, so that ten tasks of one image fetch it once. Those
    /// who wait hold it, and it goes when the last of them does.
    pending: Mutex<HashMap<Key, WeakShared<Pull>>>,
    turns: Turns,
    transfers: Arc<Transfers>,
    usage: Usage,
    unfinished: Duration,
    reserve: Reserve,
    /// What has been read of images, by the digest of their target.
    known: Mutex<HashMap<(String, String), Arc<Image>>>,
}

impl Images {
    /// The images behind `connection`.
    pub fn new(connection: Connection, settings: Settings) -> Self {
        let Settings { behavior, registries, memory, unfinished, reserve } = settings;
        Self {
            connection,
            behavior,
            registries,
            pending: Mutex::default(),
            turns: Turns::default(),
            transfers: Arc::default(),
            usage: Usage::open(&memory),
            unfinished,
            reserve,
            known: Mutex::default(),
        }
    }

    /// An image that is here.
    pub async fn local(&self, image: &str) -> Result<Arc<Image>, Error> {
        let name = full_name(image)?;
        let request = self.connection.request(api::GetImageRequest { name: name.clone() });
        let record = match self.connection.images().get(request).await {
            Ok(answer) => answer.into_inner().image,
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => return Err(Error::rpc("look for an image")(status)),
        };
        let target = record.and_then(|record| record.target);
        let target = target.ok_or_else(|| Error::NoImage(name.clone()))?;
        let key = (name.clone(), target.digest.clone());
        let cached = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(image) = cached {
            return Ok(image);
        }
        let image = Arc::new(unpack::read(&self.connection, &name, &target.digest).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(known, _), _| *known != name);
        known.insert(key, image.clone());
        Ok(image)
    }

    /// Sees to it that an image is here, as the configured behaviour has it; if it is
    /// pulled, then from `place`.
    pub async fn ensure(
        self: &Arc<Self>,
        image: &str,
        login: &RegistryLogin,
        place: &Place,
    ) -> Result<Arc<Image>, Arc<PullError>> {
        let name = full_name(image).map_err(|error| Arc::new(PullError::Store(error)))?;
        self.usage.touch(&name).await;
        let local = match self.local(&name).await {
            Ok(image) => Some(image),
            Err(Error::NoImage(_)) => None,
            Err(error) => return Err(Arc::new(PullError::Store(error))),
        };
        match (self.behavior, local) {
            (PullBehavior::PreferCached, Some(image)) => Ok(image),
            (PullBehavior::Once, Some(image)) if self.usage.was_pulled(&name) => Ok(image),
            (PullBehavior::Default, Some(cached)) => match self.join(&name, login, place).await {
                Ok(image) => Ok(image),
                Err(error) if error.is_lost() => Err(error),
                Err(error) => {
                    let error = crate::error::chain(&*error);
                    tracing::info!(image, error, "the image that is here will do");
                    Ok(cached)
                }
            },
            _ => self.join(&name, login, place).await,
        }
    }

    /// How far the pulls are that are under way.
    pub fn transfers(&self) -> Vec<Transfer> {
        self.transfers.list()
    }

    /// Has containerd collect what it has no record of any more. Returns when it has.
    pub(crate) async fn collect_garbage(&self) -> Result<(), Error> {
        garbage::collect(&self.connection, &self.reserve).await
    }

    /// Keeps what is known of images on disk, and `told` a file that says how far the
    /// pulls are that are under way; for ever.
    pub async fn keep_books(&self, told: &Path) -> Infallible {
        tokio::select! {
            never = self.usage.keep() => never,
            never = self.transfers.tell(told) => never,
        }
    }

    /// Joins the pull of this image that is under way, or begins one.
    fn join(self: &Arc<Self>, name: &str, login: &RegistryLogin, place: &Place) -> Shared<Pull> {
        let who = match login {
            RegistryLogin::Anonymous => String::new(),
            RegistryLogin::Basic { username, password } => format!("{username}:{password}"),
        };
        let key = (name.to_owned(), who, place.clone());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, pull| pull.upgrade().is_some());
        // What is over but still held by somebody is an answer of before.
        let under_way = pending.get(&key).and_then(WeakShared::upgrade);
        if let Some(pull) = under_way.filter(|pull| pull.peek().is_none()) {
            return pull;
        }
        let (this, name, login) = (self.clone(), name.to_owned(), login.clone());
        let pull = this.pull(name, login);
        let place = place.clone();
        let pull = async move {
            let pulled = netns::inside(&place, pull).await;
            pulled.unwrap_or_else(|error| Err(PullError::Place(error))).map_err(Arc::new)
        };
        let pull: Shared<Pull> = pull.boxed().shared();
        pending.extend(pull.downgrade().map(|weak| (key, weak)));
        pull
    }

    async fn pull(
        self: Arc<Self>,
        name: String,
        login: RegistryLogin,
    ) -> Result<Arc<Image>, PullError> {
        let sources = Sources::new(&self.registries, &name, &login)?;
        let progress = self.transfers.begin(&name);
        let room = (&self.reserve, self.unfinished);
        pull::pull(&self.connection, &self.turns, &sources, &progress, room).await?;
        self.usage.pulled(&name).await;
        self.local(&name).await.map_err(PullError::Store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        let full = |name: &str| full_name(name).ok();
        assert_eq!(full("busybox").as_deref(), Some("docker.io/library/busybox:latest"));
        assert_eq!(full("me/app:1").as_deref(), Some("docker.io/me/app:1"));
        assert_eq!(full("127.0.0.1:5000/app").as_deref(), Some("127.0.0.1:5000/app:latest"));
        assert_eq!(full("Not An Image"), None);
    }
}
