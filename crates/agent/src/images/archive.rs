//! From an archive: an OCI layout, or what `docker save` makes, gzip'd or not.

use super::blob::{self, Ingest, Lease};
use super::manifest::{Descriptor, Manifest};
use super::{OnProgress, Progress, full_name, unpack};
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const CHUNK: usize = 1 << 20;

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its full name.
    pub name: String,
    /// The digest of its manifest.
    pub digest: String,
}

/// Where a file is inside an archive.
#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    size: u64,
}

/// An archive that can be read at any place.
struct Archive {
    file: Arc<File>,
    members: BTreeMap<String, Span>,
}

/// One image in an archive: what to write, in order.
struct Found {
    name: String,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    media_type: String,
    /// Blob digests with where they lie.
    blobs: Vec<(String, Span)>,
}

/// Loads every image of an archive into containerd.
///
/// The archive is read twice at most, and never held in memory.
pub async fn load(
    connection: &Connection,
    path: &Path,
    progress: Option<&OnProgress>,
) -> Result<Vec<Loaded>, Error> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let archive = Archive::open(&owned)?;
        let stem = owned.file_name().and_then(|name| name.to_str()).unwrap_or("image");
        let stem = stem.split('.').next().unwrap_or(stem).to_ascii_lowercase();
        let found = archive.images(&stem)?;
        Ok::<_, Error>((archive, found))
    });
    let (archive, found) = opened.await.map_err(|error| Error::Spec(error.to_string()))??;
    let mut loaded = Vec::new();
    let lease = Lease::take(connection).await?;
    for image in found {
        match store(connection, &lease, &archive, image, progress).await {
            Ok(image) => loaded.push(image),
            Err(error) => {
                lease.release().await;
                return Err(error);
            }
        }
    }
    lease.release().await;
    Ok(loaded)
}

async fn store(
    connection: &Connection,
    lease: &Lease,
    archive: &Archive,
    image: Found,
    progress: Option<&OnProgress>,
) -> Result<Loaded, Error> {
    for (digest, span) in &image.blobs {
        if !blob::exists(connection, lease, digest).await? {
            let reached = |done| {
                if let Some(progress) = progress {
                    progress(Progress { digest: digest.clone(), done, total: span.size });
                }
            };
            let ingest = Ingest::of_lease(lease, digest, span.size);
            let stream = archive.stream(*span).boxed();
            ingest.write(connection, lease, 0, stream, reached).await?;
        }
    }
    let size = image.manifest_bytes.len();
    let labels = unpack::references(&image.manifest);
    let digest = blob::write(connection, lease, image.manifest_bytes, labels).await?;
    unpack::unpack(connection, lease, &image.name, &image.manifest).await?;
    let origin = unpack::Origin::Archive;
    unpack::record(connection, &image.name, &image.media_type, &digest, size, origin).await?;
    Ok(Loaded { name: image.name, digest })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::io("read", path)(source);
        let mut file = File::open(path).map_err(read)?;
        let mut magic = [0; 2];
        let compressed = file.read(&mut magic).map_err(read)? == 2 && magic == [0x1f, 0x8b];
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        if compressed {
            // Unnamed, so that it goes when we do.
            let mut plain = tempfile::tempfile().map_err(read)?;
            let mut decoder = MultiGzDecoder::new(BufReader::new(file));
            io::copy(&mut decoder, &mut plain).map_err(read)?;
            plain.seek(SeekFrom::Start(0)).map_err(read)?;
            file = plain;
        }
        let (mut members, mut links) = (BTreeMap::new(), Vec::new());
        let mut tar = tar::Archive::new(BufReader::new(&file));
        for entry in tar.entries_with_seek().map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.path().map_err(read)?;
            let name = name.to_string_lossy().trim_start_matches("./").to_owned();
            if let Some(target) = entry.link_name().map_err(read)? {
                links.push((name, target.to_string_lossy().into_owned()));
            } else {
                let span = Span { offset: entry.raw_file_position(), size: entry.size() };
                members.insert(name, span);
            }
        }
        drop(tar);
        // Older versions of `docker save` write a repeated layer as a link.
        for (name, target) in links {
            let base = Path::new(&name).parent().unwrap_or_else(|| Path::new(""));
            let target = normal(&base.join(&target));
            if let Some(span) = members.get(&target).copied() {
                members.insert(name, span);
            }
        }
        Ok(Self { file: Arc::new(file), members })
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bad = |problem: &str| Error::BadImage { name: name.into(), problem: problem.into() };
        let span = self.members.get(name).ok_or_else(|| bad("it is not in the archive"))?;
        if span.size > 8 << 20 {
            return Err(bad("it is unreasonably large"));
        }
        let mut bytes = vec![0; usize::try_from(span.size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, span.offset).map_err(Error::io("read", name))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(name)?)
            .map_err(|error| Error::BadImage { name: name.into(), problem: error.to_string() })
    }

    fn stream(&self, span: Span) -> impl futures::Stream<Item = io::Result<Bytes>> + use<> {
        let file = self.file.clone();
        futures::stream::try_unfold(span, move |rest| {
            let file = file.clone();
            async move {
                if rest.size == 0 {
                    return Ok(None);
                }
                let part = CHUNK.min(usize::try_from(rest.size).unwrap_or(CHUNK));
                let read = move || {
                    let mut bytes = vec![0; part];
                    file.read_exact_at(&mut bytes, rest.offset).map(|()| Bytes::from(bytes))
                };
                let bytes = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
                let done = bytes.len() as u64;
                let rest = Span { offset: rest.offset + done, size: rest.size - done };
                Ok(Some((bytes, rest)))
            }
        })
    }

    fn images(&self, stem: &str) -> Result<Vec<Found>, Error> {
        if self.members.contains_key("index.json") {
            self.oci(stem)
        } else if self.members.contains_key("manifest.json") {
            self.docker(stem)
        } else {
            let problem = "it is neither an OCI layout nor a docker archive".to_owned();
            Err(Error::BadImage { name: stem.to_owned(), problem })
        }
    }

    fn oci(&self, stem: &str) -> Result<Vec<Found>, Error> {
        let path = |digest: &str| format!("blobs/{}", digest.replacen(':', "/", 1));
        let index: Manifest = self.json("index.json")?;
        let mut images = Vec::new();
        for entry in &index.manifests {
            let name = oci_name(entry, stem)?;
            let mut at = entry.clone();
            let mut manifest: Manifest = self.json(&path(&at.digest))?;
            if manifest.config.is_none() {
                let Some(chosen) = manifest.choose() else { continue };
                at = chosen.clone();
                manifest = self.json(&path(&at.digest))?;
            }
            let bytes = self.bytes(&path(&at.digest))?;
            let mut blobs = Vec::new();
            for descriptor in manifest.config.iter().chain(&manifest.layers) {
                let problem = || format!("{} is not in the archive", descriptor.digest);
                let span = self.members.get(&path(&descriptor.digest)).copied();
                let span =
                    span.ok_or_else(|| Error::BadImage { name: name.clone(), problem: problem() })?;
                blobs.push((descriptor.digest.clone(), span));
            }
            let media_type = if at.media_type.is_empty() {
                "application/vnd.oci.image.manifest.v1+json".to_owned()
            } else {
                at.media_type
            };
            images.push(Found { name, manifest, manifest_bytes: bytes, media_type, blobs });
        }
        Ok(images)
    }

    /// A docker archive has no manifest, so one is made for it: the same bytes
    /// for the same image.
    fn docker(&self, stem: &str) -> Result<Vec<Found>, Error> {
        let entries: Vec<DockerEntry> = self.json("manifest.json")?;
        let mut images = Vec::new();
        for entry in entries {
            let config_bytes = self.bytes(&entry.config)?;
            let span = |member: &String| {
                let problem = || format!("{member} is not in the archive");
                let span = self.members.get(member).copied();
                span.ok_or_else(|| Error::BadImage { name: stem.to_owned(), problem: problem() })
            };
            let config = Descriptor {
                media_type: "application/vnd.docker.container.image.v1+json".to_owned(),
                digest: blob::digest(&config_bytes),
                size: i64::try_from(config_bytes.len()).unwrap_or(0),
                ..Descriptor::default()
            };
            let mut blobs = vec![(config.digest.clone(), span(&entry.config)?)];
            let mut layers = Vec::new();
            for member in &entry.layers {
                let span = span(member)?;
                let (digest, gzip) = self.hash(span)?;
                let suffix = if gzip { ".gzip" } else { "" };
                layers.push(Descriptor {
                    media_type: format!("application/vnd.docker.image.rootfs.diff.tar{suffix}"),
                    digest: digest.clone(),
                    size: i64::try_from(span.size).unwrap_or(i64::MAX),
                    ..Descriptor::default()
                });
                blobs.push((digest, span));
            }
            let media_type = "application/vnd.docker.distribution.manifest.v2+json".to_owned();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
            });
            let manifest_bytes = manifest.to_string().into_bytes();
            let manifest = Manifest { config: Some(config), layers, ..Manifest::default() };
            let tags = entry.repo_tags.unwrap_or_default();
            let names = if tags.is_empty() { vec![stem.to_owned()] } else { tags };
            for name in names {
                images.push(Found {
                    name: full_name(&name)?,
                    manifest: manifest.clone(),
                    manifest_bytes: manifest_bytes.clone(),
                    media_type: media_type.clone(),
                    blobs: blobs.clone(),
                });
            }
        }
        Ok(images)
    }

    /// The digest of a member, and whether it is gzip'd.
    fn hash(&self, span: Span) -> Result<(String, bool), Error> {
        let (mut hash, mut gzip) = (Sha256::new(), false);
        let mut bytes = vec![0; CHUNK];
        let mut done = 0;
        while done < span.size {
            let part = CHUNK.min(usize::try_from(span.size - done).unwrap_or(CHUNK));
            let bytes = &mut bytes[..part];
            let read = self.file.read_exact_at(bytes, span.offset + done);
            read.map_err(Error::io("read", "layer"))?;
            gzip |= done == 0 && bytes.starts_with(&[0x1f, 0x8b]);
            hash.update(&*bytes);
            done += part as u64;
        }
        Ok((format!("sha256:{}", hex::encode(hash.finalize())), gzip))
    }
}

/// What an index calls an image: in full, by a tag alone, or not at all.
fn oci_name(entry: &Descriptor, stem: &str) -> Result<String, Error> {
    if let Some(name) = entry.annotations.get("io.containerd.image.name") {
        return full_name(name);
    }
    match entry.annotations.get("org.opencontainers.image.ref.name") {
        Some(name) if name.contains(['/', ':']) => full_name(name),
        Some(tag) => full_name(&format!("{stem}:{tag}")),
        None => full_name(stem),
    }
}

/// A path without `.` and `..`, as text.
fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(parts.pop()),
            std::path::Component::CurDir
            | std::path::Component::RootDir
            | std::path::Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}
