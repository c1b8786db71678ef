//! From a registry.

use super::blob::{self, Lease};
use super::{Manifest, full_name, unpack};
use crate::engine::{Failure, FailureKind, RegistryLogin};
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use futures::{StreamExt, TryStreamExt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Layers that are fetched at once.
const PARALLEL: usize = 3;
/// Further tries after a failure that may be passing, and the first pause.
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(1100);
/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(30);

const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry, or the way to it.
    #[error("pulling {image} failed")]
    #[allow(missing_docs)]
    Registry { image: String, source: Box<OciDistributionError> },
    /// The registry sent something other than what it announced.
    #[error("{image} is not what its registry says: expected {expected}, got {actual}")]
    #[allow(missing_docs)]
    Digest { image: String, expected: String, actual: String },
    /// Our own store.
    #[error("the image cannot be stored")]
    Store(#[source] Error),
}

/// What kind of trouble a registry makes, for advice and for trying again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Denied,
    Missing,
    Unreachable,
    Other,
}

impl PullError {
    #[allow(clippy::wildcard_enum_match_arm)] // The library's own list grows.
    fn trouble(&self) -> Trouble {
        let Self::Registry { source, .. } = self else { return Trouble::Other };
        match &**source {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Trouble::Denied,
            OciDistributionError::ImageManifestNotFoundError(_) => Trouble::Missing,
            OciDistributionError::RegistryError { envelope, .. } => {
                let has = |code: &OciErrorCode| envelope.errors.iter().any(|e| e.code == *code);
                if has(&OciErrorCode::Denied) || has(&OciErrorCode::Unauthorized) {
                    Trouble::Denied
                } else if has(&OciErrorCode::ManifestUnknown)
                    || has(&OciErrorCode::NameUnknown)
                    || has(&OciErrorCode::NotFound)
                {
                    Trouble::Missing
                } else {
                    Trouble::Other
                }
            }
            OciDistributionError::ServerError { code, .. } if *code == 404 => Trouble::Missing,
            OciDistributionError::ServerError { .. }
            | OciDistributionError::RequestError(_)
            | OciDistributionError::IoError(_) => Trouble::Unreachable,
            _ => Trouble::Other,
        }
    }

    /// Whether containerd went away meanwhile.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_lost())
    }

    /// What the task's owner is told.
    pub fn failure(&self) -> Failure {
        let advice = match self.trouble() {
            Trouble::Denied => {
                "The task can’t pull the image. Check that the role has the permissions to pull \
                 images from the registry. "
            }
            Trouble::Missing => "The task can’t pull the image. Check whether the image exists. ",
            Trouble::Unreachable => {
                "The task can’t pull the image. Check your network configuration. "
            }
            Trouble::Other => "",
        };
        Failure::new(FailureKind::Pull, format!("{advice}{}", crate::error::chain(self)))
    }
}

/// Fetches an image and unpacks it.
pub(super) async fn pull(
    connection: &Connection,
    plain_http: &[String],
    image: &str,
    login: &RegistryLogin,
) -> Result<(), PullError> {
    let name = full_name(image).map_err(PullError::Store)?;
    let lease = Lease::take(connection).await.map_err(PullError::Store)?;
    let mut pause = PAUSE;
    let mut left = RETRIES;
    let result = loop {
        match fetch(connection, &lease, plain_http, &name, login).await {
            Err(error) if error.trouble() == Trouble::Unreachable && left > 0 => {
                let error = crate::error::chain(&error);
                tracing::debug!(image, error, "trying again");
                left -= 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            other => break other,
        }
    };
    lease.release().await;
    result
}

async fn fetch(
    connection: &Connection,
    lease: &Lease,
    plain_http: &[String],
    name: &str,
    login: &RegistryLogin,
) -> Result<(), PullError> {
    let bad =
        |problem: String| PullError::Store(Error::BadImage { name: name.to_owned(), problem });
    let reference = Reference::from_str(name).map_err(|error| bad(error.to_string()))?;
    let auth = match login {
        RegistryLogin::Anonymous => RegistryAuth::Anonymous,
        RegistryLogin::Basic { username, password } => {
            RegistryAuth::Basic(username.clone(), password.clone())
        }
    };
    let client = client(reference.resolve_registry(), plain_http);
    let registry =
        |source| PullError::Registry { image: name.to_owned(), source: Box::new(source) };
    let get = async |reference: &Reference, expected: Option<&str>| {
        let answer = client.pull_manifest_raw(reference, &auth, &ACCEPTED).await;
        let (bytes, _) = answer.map_err(registry)?;
        let actual = blob::digest(&bytes);
        let expected = expected.or(reference.digest());
        match expected.filter(|expected| *expected != actual) {
            Some(expected) => Err(PullError::Digest {
                image: name.to_owned(),
                expected: expected.to_owned(),
                actual,
            }),
            None => Ok(bytes),
        }
    };
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Manifest>(bytes).map_err(|error| bad(error.to_string()))
    };

    let top = get(&reference, None).await?;
    let first = parse(&top)?;
    let (manifest, bytes, index) = if first.config.is_some() {
        (first, top, None)
    } else {
        let chosen = first.choose().ok_or_else(|| bad("no image for this machine".to_owned()))?;
        let chosen = chosen.digest.clone();
        let inner = reference.clone_with_digest(chosen.clone());
        let bytes = get(&inner, Some(&chosen)).await?;
        (parse(&bytes)?, bytes, Some((top, chosen)))
    };

    // All blobs, the configuration with them.
    let blobs: Vec<_> = manifest.config.iter().chain(&manifest.layers).cloned().collect();
    let fetched = futures::stream::iter(blobs.into_iter().map(|descriptor| {
        let (client, reference) = (&client, &reference);
        async move {
            if blob::exists(connection, lease, &descriptor.digest)
                .await
                .map_err(PullError::Store)?
            {
                return Ok(());
            }
            let wanted = OciDescriptor {
                media_type: descriptor.media_type.clone(),
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                ..OciDescriptor::default()
            };
            let stream = client.pull_blob_stream(reference, &wanted).await.map_err(registry)?;
            let size = u64::try_from(descriptor.size).unwrap_or(0);
            let stream = stream.stream.boxed();
            blob::write_stream(connection, lease, &descriptor.digest, size, stream, None)
                .await
                .map_err(|error| broken_stream(name, error))
        }
    }));
    fetched.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;

    let store = async {
        let size = bytes.len();
        let labels = unpack::references(&manifest);
        let digest = blob::write(connection, lease, bytes.to_vec(), labels).await?;
        unpack::unpack(connection, lease, name, &manifest).await?;
        let (kind, target, size) = match index {
            None => (media_type(&bytes, ACCEPTED[1]), digest, size),
            Some((top, chosen)) => {
                let label =
                    HashMap::from([("containerd.io/gc.ref.content.m.0".to_owned(), chosen)]);
                let size = top.len();
                let kind = media_type(&top, ACCEPTED[0]);
                let digest = blob::write(connection, lease, top.to_vec(), label).await?;
                (kind, digest, size)
            }
        };
        unpack::record(connection, name, &kind, &target, size).await
    };
    store.await.map_err(PullError::Store)
}

/// A stream that breaks is the network's fault, not the store's.
fn broken_stream(image: &str, error: Error) -> PullError {
    match error {
        Error::Io { source, .. } => PullError::Registry {
            image: image.to_owned(),
            source: Box::new(OciDistributionError::IoError(source)),
        },
        Error::Connect { .. }
        | Error::Rpc { .. }
        | Error::Spec(_)
        | Error::NoUser(_)
        | Error::NoVolume(_)
        | Error::NoVariables(_)
        | Error::NoImage(_)
        | Error::BadImage { .. }
        | Error::NoStart(_) => PullError::Store(error),
    }
}

/// The media type that a manifest gives itself.
fn media_type(manifest: &[u8], otherwise: &str) -> String {
    let value: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let own = value.get("mediaType").and_then(|kind| kind.as_str());
    own.unwrap_or(otherwise).to_owned()
}

fn client(registry: &str, plain_http: &[String]) -> Client {
    let plain = is_local(registry) || plain_http.iter().any(|known| known == registry);
    Client::new(ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        read_timeout: Some(SILENCE),
        connect_timeout: Some(CONNECT),
        ..ClientConfig::default()
    })
}

/// Registries on this machine have no certificates, as Docker knows too.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["docker.io", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.nip.io"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
