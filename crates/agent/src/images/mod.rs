//! Images: into containerd's store, from a registry or from an archive.
//!
//! containerd 1.6, which distributions still ship, cannot pull by itself, and we
//! want to pull through a task's own interface one day; so we speak to the
//! registry and hand containerd the blobs. While that is under way a lease keeps
//! its garbage collector off; afterwards labels do: the image record holds the
//! manifest, the manifest its layers and configuration, and the configuration
//! the unpacked file system.

mod archive;
mod blob;
mod pull;
mod unpack;

pub use archive::{Loaded, load};
pub(crate) use blob::digest;
pub use pull::PullError;

use crate::engine::RegistryLogin;
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use containerd_client::services::v1 as api;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// The snapshotter that holds root file systems.
pub const SNAPSHOTTER: &str = "overlayfs";

/// When an image is asked of its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBehavior {
    /// Every time; if that fails, the image that is here will do.
    Default,
    /// Every time; if that fails, so does the task.
    Always,
    /// Once per image.
    Once,
    /// If it is not here. This is Landfall's default, though not the official
    /// agent's: most of its machines sit far from any registry, and a task from a
    /// cached image starts in a tenth of a second.
    #[default]
    PreferCached,
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

/// A reference to a blob, as manifests have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// A manifest or an index: which, its members tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<Descriptor>,
}

/// This machine's architecture, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Manifest {
    /// The manifest in this index that fits this machine.
    fn choose(&self) -> Option<&Descriptor> {
        let arch = architecture();
        let fits = |d: &&Descriptor| {
            d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == arch)
        };
        // An index of one that does not name its platform is taken at its word.
        let only = || Some(&self.manifests[0]).filter(|d| d.platform.is_none());
        match self.manifests.len() {
            0 => None,
            1 => self.manifests.iter().find(fits).or_else(only),
            _ => self.manifests.iter().find(fits),
        }
    }
}

/// The part of an image's configuration that matters for unpacking and running it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    config: Option<ImageConfig>,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The full name of an image: `busybox` is `docker.io/library/busybox:latest`.
pub fn full_name(image: &str) -> Result<String, Error> {
    let reference = oci_client::Reference::from_str(image)
        .map_err(|error| Error::BadImage { name: image.to_owned(), problem: error.to_string() })?;
    Ok(reference.whole())
}

type Pull = BoxFuture<'static, Result<Arc<Image>, Arc<PullError>>>;

/// The images of one containerd.
pub struct Images {
    connection: Connection,
    behavior: PullBehavior,
    plain_http: Vec<String>,
    /// What is being fetched, so that ten tasks of one image fetch it once. Those
    /// who wait hold it, and it goes when the last of them does.
    pending: Mutex<HashMap<(String, String), WeakShared<Pull>>>,
    /// What has been read of images, by the digest of their target.
    known: Mutex<HashMap<(String, String), Arc<Image>>>,
}

impl Images {
    /// The images behind `connection`; `plain_http` are registries without TLS.
    pub fn new(connection: Connection, behavior: PullBehavior, plain_http: Vec<String>) -> Self {
        let (pending, known) = (Mutex::default(), Mutex::default());
        Self { connection, behavior, plain_http, pending, known }
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

    /// Sees to it that an image is here, as the configured behaviour has it.
    pub async fn ensure(
        self: &Arc<Self>,
        image: &str,
        login: &RegistryLogin,
    ) -> Result<Arc<Image>, Arc<PullError>> {
        let local = self.local(image).await;
        match (self.behavior, local) {
            (PullBehavior::Once | PullBehavior::PreferCached, Ok(image)) => Ok(image),
            (PullBehavior::Default, Ok(cached)) => Ok(match self.shared_pull(image, login).await {
                Ok(image) => image,
                Err(error) => {
                    let error = crate::error::chain(&*error);
                    tracing::info!(image, error, "the image that is here will do");
                    cached
                }
            }),
            (PullBehavior::Always, _) | (_, Err(Error::NoImage(_))) => {
                self.shared_pull(image, login).await
            }
            (_, Err(error)) => Err(Arc::new(PullError::Store(error))),
        }
    }

    /// Joins the pull of this image that is under way, or begins one.
    async fn shared_pull(
        self: &Arc<Self>,
        image: &str,
        login: &RegistryLogin,
    ) -> Result<Arc<Image>, Arc<PullError>> {
        // Pulls with different passwords are different pulls.
        let who = match login {
            RegistryLogin::Anonymous => String::new(),
            RegistryLogin::Basic { username, password } => format!("{username}:{password}"),
        };
        let key = (image.to_owned(), who);
        self.join(key, image, login).await
    }

    fn join(
        self: &Arc<Self>,
        key: (String, String),
        image: &str,
        login: &RegistryLogin,
    ) -> Shared<Pull> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, pull| pull.upgrade().is_some());
        // What is over but still held by somebody is an answer of before.
        let under_way = pending.get(&key).and_then(WeakShared::upgrade);
        if let Some(pull) = under_way.filter(|pull| pull.peek().is_none()) {
            return pull;
        }
        let (this, image, login) = (self.clone(), image.to_owned(), login.clone());
        let pull = async move { this.pull(&image, &login).await.map_err(Arc::new) };
        let pull: Shared<Pull> = pull.boxed().shared();
        pending.extend(pull.downgrade().map(|weak| (key, weak)));
        pull
    }

    async fn pull(&self, image: &str, login: &RegistryLogin) -> Result<Arc<Image>, PullError> {
        pull::pull(&self.connection, &self.plain_http, image, login).await?;
        self.local(image).await.map_err(PullError::Store)
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

    #[test]
    fn an_index_is_asked_for_this_machine() {
        let entry = |digest: &str, architecture: &str| Descriptor {
            digest: digest.to_owned(),
            platform: Some(Platform { os: "linux".into(), architecture: architecture.into() }),
            ..Descriptor::default()
        };
        let index = Manifest {
            manifests: vec![entry("a", "s390x"), entry("b", "amd64"), entry("c", "arm64")],
            ..Manifest::default()
        };
        let chosen = index.choose().map(|d| d.digest.as_str());
        assert_eq!(chosen, Some(if cfg!(target_arch = "x86_64") { "b" } else { "c" }));
        let other = Manifest { manifests: vec![entry("a", "s390x")], ..Manifest::default() };
        assert_eq!(other.choose(), None);
    }
}
