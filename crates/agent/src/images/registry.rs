//! Where an image can be had, and how it is asked for there.

use super::blob::{SMALL, digest};
use super::logins;
use super::manifest::Descriptor;
use super::reference;
use super::trouble::{Patience, PullError};
use super::trust::Trust;
use crate::engine::RegistryLogin;
use crate::runtime::Error;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a connection may take. One that a security group forbids takes this long,
/// and as often as a failure is borne.
const CONNECT: Duration = Duration::from_secs(10);

/// What a reference may lead to, the index first.
pub(super) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What one has to know of registries to reach them. All are named `host` or
/// `host:port`, as in a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registries {
    /// Those that are spoken to without TLS. Those on this machine are too, if
    /// `certificates` has nothing for them.
    pub insecure: Vec<String>,
    /// Directories of certificates as Docker and containerd lay them out:
    /// `DIR/HOST:PORT/*.crt` may vouch for that registry, beside the machine's own.
    pub certificates: Vec<PathBuf>,
    /// A file of logins as Docker keeps it, for images whose task has none.
    pub logins: Option<PathBuf>,
    /// Who is asked before a registry is, in this order. They are asked as anybody
    /// would: a login is its registry's alone.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// How long one may be silent, in the middle of a layer too, before its line counts
    /// as broken.
    pub silence: Duration,
}

impl Default for Registries {
    /// No mirrors and no logins, TLS with all but this machine's, no certificates but the
    /// machine's own, and a minute of silence.
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            certificates: Vec::new(),
            logins: None,
            mirrors: BTreeMap::new(),
            silence: Duration::from_mins(1),
        }
    }
}

impl Registries {
    fn is_plain(&self, registry: &str, trust: &Trust) -> bool {
        let named = self.insecure.iter().any(|known| known == registry);
        named || (is_local(registry) && !trust.is_given())
    }

    fn mirrors_of(&self, registry: &str) -> &[String] {
        self.mirrors.get(registry).map_or(&[], Vec::as_slice)
    }
}

/// Everybody who may have an image: its registry, and before it the mirrors.
pub(super) struct Sources {
    image: String,
    mirrors: Vec<Source>,
    registry: Source,
    /// How many mirrors have failed: none of those is asked again.
    failed: AtomicUsize,
}

/// One who may have an image.
pub(super) struct Source {
    client: Client,
    trust: Trust,
    reference: Reference,
    auth: RegistryAuth,
    /// What can be done if that is not enough.
    advice: String,
    /// Whether we have introduced ourselves.
    known: OnceCell<()>,
}

/// A blob on its way.
pub(super) struct Arriving {
    /// At which byte it begins: not where it was asked to, if the registry cannot.
    pub(super) offset: u64,
    /// The bytes from there on.
    pub(super) bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl Sources {
    /// Those of the image with this full name.
    pub(super) fn new(
        registries: &Registries,
        name: &str,
        login: &RegistryLogin,
    ) -> Result<Self, PullError> {
        let bad = |problem: String| Error::BadImage { name: name.to_owned(), problem };
        let reference = reference::read(name).map_err(|problem| PullError::Store(bad(problem)))?;
        let mirrors = registries.mirrors_of(reference.registry()).iter();
        let mirrors = mirrors.filter_map(|mirror| {
            let there = moved(&reference, mirror);
            let nobody = (RegistryAuth::Anonymous, String::new());
            let source = Source::new(registries, there, nobody);
            source.inspect_err(|error| useless(name, error)).ok()
        });
        let mirrors = mirrors.collect();
        let who = introduction(registries, reference.registry(), login)?;
        let registry = Source::new(registries, reference, who)?;
        Ok(Self { image: name.to_owned(), mirrors, registry, failed: AtomicUsize::new(0) })
    }

    /// The image's full name.
    pub(super) fn image(&self) -> &str {
        &self.image
    }

    /// Who is to be asked now, and by which number to complain of him.
    pub(super) fn current(&self) -> (usize, &Source) {
        let at = self.failed.load(Ordering::Relaxed);
        (at, self.mirrors.get(at).unwrap_or(&self.registry))
    }

    /// After a failure of the source with this number: returns if somebody is to be
    /// asked again, with a pause if it is the same as before.
    pub(super) async fn endure(
        &self,
        at: usize,
        error: PullError,
        patience: &mut Patience,
    ) -> Result<(), PullError> {
        let ours = matches!(error, PullError::Store(_));
        if at < self.mirrors.len() && !ours {
            useless(&self.image, &error);
            self.failed.fetch_max(at + 1, Ordering::Relaxed);
            return Ok(());
        }
        patience.bear(&self.image, error).await
    }

    /// What it means that the manifest could not be had which the image's name leads to:
    /// a name with a digest needs nobody to say what it leads to.
    pub(super) fn of_tag(&self, error: PullError) -> PullError {
        let is_pinned = self.registry.reference.digest().is_some();
        let answered = matches!(
            error,
            PullError::Registry { .. } | PullError::Tls { .. } | PullError::Denied { .. }
        );
        if answered && !is_pinned { PullError::Manifest(Box::new(error)) } else { error }
    }

    /// The manifest or index that the image's name leads to, or the one with this
    /// digest.
    pub(super) async fn manifest(&self, digest: Option<&str>) -> Result<Bytes, PullError> {
        let mut patience = Patience::default();
        loop {
            let (at, source) = self.current();
            match source.manifest(&self.image, digest).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.endure(at, error, &mut patience).await?,
            }
        }
    }
}

impl Source {
    fn new(
        registries: &Registries,
        reference: Reference,
        (auth, advice): (RegistryAuth, String),
    ) -> Result<Self, PullError> {
        let trust = Trust::of(&registries.certificates, reference.registry())?;
        let plain = registries.is_plain(reference.registry(), &trust);
        let client = Client::try_from(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            read_timeout: Some(registries.silence),
            connect_timeout: Some(CONNECT),
            extra_root_certificates: trust.authorities(),
            ..ClientConfig::default()
        });
        let client = client.map_err(|source| PullError::answer(&reference.whole(), source))?;
        Ok(Self { client, trust, reference, auth, advice, known: OnceCell::new() })
    }

    /// What a registry answered, or what came of asking it.
    fn failed(&self, image: &str, source: OciDistributionError) -> PullError {
        let objection = self.trust.objection(image, self.reference.registry(), &source);
        let answer = || PullError::answer(image, source).denied_to(&self.auth, &self.advice);
        objection.unwrap_or_else(answer)
    }

    async fn manifest(&self, image: &str, wanted: Option<&str>) -> Result<Bytes, PullError> {
        let failed = |source| self.failed(image, source);
        let introduce = || async {
            let pull = RegistryOperation::Pull;
            self.client.auth(&self.reference, &self.auth, pull).await.map(drop)
        };
        // The library would take a refusal for a wish to stay unknown.
        self.known.get_or_try_init(introduce).await.map_err(failed)?;
        let inner = wanted.map(|digest| self.reference.clone_with_digest(digest.to_owned()));
        let reference = inner.as_ref().unwrap_or(&self.reference);
        let answer = self.client.pull_manifest_raw(reference, &self.auth, &ACCEPTED).await;
        let (bytes, _) = answer.map_err(failed)?;
        if bytes.len() > SMALL {
            let problem = format!("a manifest of {} bytes is unreasonably large", bytes.len());
            return Err(PullError::Content { image: image.to_owned(), problem });
        }
        let actual = digest(&bytes);
        match reference.digest().filter(|expected| *expected != actual) {
            Some(expected) => Err(PullError::Content {
                image: image.to_owned(),
                problem: format!("expected {expected}, got {actual}"),
            }),
            None => Ok(bytes),
        }
    }

    /// A blob of this image, from this byte on if the registry can.
    pub(super) async fn blob(
        &self,
        image: &str,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Arriving, PullError> {
        self.ask_for(blob, offset).await.map_err(|source| self.failed(image, source))
    }

    async fn ask_for(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Arriving, OciDistributionError> {
        let wanted = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: blob.size,
            ..OciDescriptor::default()
        };
        if offset > 0 {
            let rest = u64::try_from(blob.size).unwrap_or(0).saturating_sub(offset);
            let answer =
                self.client.pull_blob_stream_partial(&self.reference, &wanted, offset, None).await;
            match answer {
                Ok(BlobResponse::Full(whole)) => {
                    return Ok(Arriving { offset: 0, bytes: whole.stream.boxed() });
                }
                Ok(BlobResponse::Partial(part))
                    if part.content_length.is_none_or(|length| length == rest) =>
                {
                    return Ok(Arriving { offset, bytes: part.stream.boxed() });
                }
                // It is confused about ranges, or has none.
                Ok(BlobResponse::Partial(_))
                | Err(OciDistributionError::ServerError { code: 416, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let whole = self.client.pull_blob_stream(&self.reference, &wanted).await?;
        Ok(Arriving { offset: 0, bytes: whole.stream.boxed() })
    }
}

/// Who we say we are: who the task says, or else the machine. And what its owner can do if
/// that is not enough.
fn introduction(
    registries: &Registries,
    registry: &str,
    login: &RegistryLogin,
) -> Result<(RegistryAuth, String), PullError> {
    let basic = |login: &RegistryLogin| match login {
        RegistryLogin::Anonymous => RegistryAuth::Anonymous,
        RegistryLogin::Basic { username, password } => {
            RegistryAuth::Basic(username.clone(), password.clone())
        }
    };
    if *login != RegistryLogin::Anonymous {
        return Ok((basic(login), format!("Check the task's login for {registry}")));
    }
    let Some(path) = &registries.logins else {
        let advice = format!("Logins for {registry} are given by --registry-auth");
        return Ok((RegistryAuth::Anonymous, advice));
    };
    let auth = basic(&logins::of(path, registry)?);
    Ok((auth, format!("Check the login for {registry} in {}", path.display())))
}

fn useless(image: &str, error: &PullError) {
    tracing::info!(image, error = crate::error::chain(error), "this mirror is of no use");
}

/// The same image at another registry.
fn moved(reference: &Reference, registry: &str) -> Reference {
    let (registry, repository) = (registry.to_owned(), reference.repository().to_owned());
    match (reference.tag(), reference.digest()) {
        (_, Some(digest)) => Reference::with_digest(registry, repository, digest.to_owned()),
        (Some(tag), None) => Reference::with_tag(registry, repository, tag.to_owned()),
        (None, None) => Reference::with_tag(registry, repository, "latest".to_owned()),
    }
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

    #[test]
    fn mirrors_come_first_in_their_order_and_get_no_password() {
        let mirrors = vec!["a.example:5000".to_owned(), "b.example".to_owned()];
        let mirrors = BTreeMap::from([("docker.io".to_owned(), mirrors)]);
        let registries = Registries { mirrors, ..Registries::default() };
        let login = RegistryLogin::Basic { username: "u".into(), password: "p".into() };
        let asked = |name: &str| {
            let sources = Sources::new(&registries, name, &login).expect("a name");
            let told = |source: &Source| {
                (source.reference.whole(), matches!(source.auth, RegistryAuth::Basic(..)))
            };
            sources.mirrors.iter().chain([&sources.registry]).map(told).collect::<Vec<_>>()
        };
        let pair = |name: &str, login| (name.to_owned(), login);
        assert_eq!(
            asked("docker.io/library/busybox:1"),
            [
                pair("a.example:5000/library/busybox:1", false),
                pair("b.example/library/busybox:1", false),
                pair("docker.io/library/busybox:1", true),
            ]
        );
        assert_eq!(asked("quay.io/a/b:1"), [pair("quay.io/a/b:1", true)]);
    }
}
