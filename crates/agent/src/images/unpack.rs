//! From blobs to root file systems.

use super::blob::{self, Lease};
use super::manifest::{ConfigFile, Descriptor, Manifest};
use super::{Image, SNAPSHOTTER};
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Reads an image whose blobs are here, and unpacks it if nobody has yet.
pub(super) async fn read(
    connection: &Connection,
    name: &str,
    target: &str,
) -> Result<Image, Error> {
    let (manifest, _) = manifest(connection, name, target).await?;
    let (config, chain_id) = configuration(connection, name, &manifest).await?;
    if !has_snapshot(connection, &chain_id).await? {
        let lease = Lease::take(connection).await?;
        let unpacked = unpack(connection, &lease, name, &manifest).await;
        lease.release().await;
        unpacked?;
    }
    Ok(Image {
        name: name.to_owned(),
        digest: target.to_owned(),
        chain_id,
        config: config.config.unwrap_or_default(),
    })
}

/// The manifest for this machine at `digest`, and its own digest.
pub(super) async fn manifest(
    connection: &Connection,
    name: &str,
    digest: &str,
) -> Result<(Manifest, String), Error> {
    let bad =
        |problem: &str| Error::BadImage { name: name.to_owned(), problem: problem.to_owned() };
    let mut digest = digest.to_owned();
    // An index may list an index, but not for ever.
    for _ in 0..4 {
        let bytes = blob::read(connection, &digest).await?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if manifest.config.is_some() {
            return Ok((manifest, digest));
        }
        let chosen = manifest.choose().ok_or_else(|| bad(&manifest.lack()))?;
        digest.clone_from(&chosen.digest);
    }
    Err(bad("its indexes are nested too deeply"))
}

async fn configuration(
    connection: &Connection,
    name: &str,
    manifest: &Manifest,
) -> Result<(ConfigFile, String), Error> {
    let bad = |problem: String| Error::BadImage { name: name.to_owned(), problem };
    let digest = manifest.config.as_ref().map(|config| config.digest.as_str()).unwrap_or_default();
    let bytes = blob::read(connection, digest).await?;
    let config: ConfigFile =
        serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(bad("its configuration and its manifest disagree about its layers".to_owned()));
    }
    let chain = chain(&config.rootfs.diff_ids);
    let top = chain.into_iter().next_back().ok_or_else(|| bad("it has no layers".to_owned()))?;
    Ok((config, top))
}

/// The names of the file systems that are the layers up to each.
fn chain(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let name = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let joined = format!("{below} {diff_id}");
                format!("sha256:{}", hex::encode(Sha256::digest(joined)))
            }
        };
        chain.push(name);
    }
    chain
}

async fn has_snapshot(connection: &Connection, key: &str) -> Result<bool, Error> {
    let message =
        snap::StatSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.to_owned() };
    match connection.snapshots().stat(connection.request(message)).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(Error::rpc("look for a file system")(status)),
    }
}

/// Unpacks an image, layer upon layer, and hangs the result on its configuration.
pub(super) async fn unpack(
    connection: &Connection,
    lease: &Lease,
    name: &str,
    manifest: &Manifest,
) -> Result<(), Error> {
    let (config, top) = configuration(connection, name, manifest).await?;
    let chain = chain(&config.rootfs.diff_ids);
    let mut parent = String::new();
    for (index, layer) in manifest.layers.iter().enumerate() {
        let (diff_id, chain_id) = (&config.rootfs.diff_ids[index], &chain[index]);
        if has_snapshot(connection, chain_id).await? {
            lease.cover(&format!("snapshots/{SNAPSHOTTER}"), chain_id).await?;
        } else {
            apply(connection, lease, name, layer, diff_id, &parent, chain_id).await?;
        }
        parent.clone_from(chain_id);
    }
    let label = format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}");
    let config = manifest.config.as_ref().map(|config| config.digest.as_str()).unwrap_or_default();
    blob::label(connection, config, HashMap::from([(label, top)])).await
}

async fn apply(
    connection: &Connection,
    lease: &Lease,
    name: &str,
    layer: &Descriptor,
    diff_id: &str,
    parent: &str,
    chain_id: &str,
) -> Result<(), Error> {
    let snapshotter = || SNAPSHOTTER.to_owned();
    // Unpacked aside, and named when complete: half a layer is never taken for one.
    let key = format!("{}-{chain_id}", lease.id());
    let message = snap::PrepareSnapshotRequest {
        snapshotter: snapshotter(),
        key: key.clone(),
        parent: parent.to_owned(),
        labels: HashMap::new(),
    };
    let answer = connection.snapshots().prepare(connection.leased(message, &lease.id())).await;
    let mounts = answer.map_err(Error::rpc("prepare a file system"))?.into_inner().mounts;
    let unpacked = async {
        let diff = containerd_client::types::Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            annotations: HashMap::new(),
        };
        let message =
            api::ApplyRequest { diff: Some(diff), mounts, ..api::ApplyRequest::default() };
        let answer = connection.diff().apply(connection.leased(message, &lease.id())).await;
        let applied = answer.map_err(Error::rpc("unpack a layer"))?.into_inner().applied;
        let found = applied.map(|applied| applied.digest).unwrap_or_default();
        if found != diff_id {
            let problem = format!("layer {} unpacks to {found}, not {diff_id}", layer.digest);
            return Err(Error::BadImage { name: name.to_owned(), problem });
        }
        let message = snap::CommitSnapshotRequest {
            snapshotter: snapshotter(),
            name: chain_id.to_owned(),
            key: key.clone(),
            labels: HashMap::new(),
        };
        match connection.snapshots().commit(connection.leased(message, &lease.id())).await {
            // Somebody else unpacked the same layer meanwhile.
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(false),
            other => other.map(|_| true).map_err(Error::rpc("keep a layer")),
        }
    };
    let unpacked = unpacked.await;
    if !matches!(unpacked, Ok(true)) {
        let message = snap::RemoveSnapshotRequest { snapshotter: snapshotter(), key };
        drop(connection.snapshots().remove(connection.request(message)).await);
    }
    unpacked?;
    // Somebody else's, or under a lease that was renewed meanwhile.
    lease.cover(&format!("snapshots/{SNAPSHOTTER}"), chain_id).await
}

/// Labels a manifest, or index, so that it keeps what it refers to.
pub(super) fn references(manifest: &Manifest) -> HashMap<String, String> {
    let label = |what: String, digest: &str| {
        (format!("containerd.io/gc.ref.content.{what}"), digest.to_owned())
    };
    let config = manifest.config.iter().map(|d| label("config".to_owned(), &d.digest));
    let layers = manifest.layers.iter().enumerate();
    config.chain(layers.map(|(n, d)| label(format!("l.{n}"), &d.digest))).collect()
}

/// Where an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A registry, which can be asked again.
    Registry,
    /// A file, which may be the only one there is.
    Archive,
}

/// The label of images that came from a file.
pub(super) const LOADED: &str = "landfall/loaded";

/// Makes or moves the record of an image.
pub(super) async fn record(
    connection: &Connection,
    name: &str,
    media_type: &str,
    digest: &str,
    size: usize,
    origin: Origin,
) -> Result<(), Error> {
    let target = containerd_client::types::Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    };
    let labels = match origin {
        Origin::Registry => HashMap::new(),
        Origin::Archive => HashMap::from([(LOADED.to_owned(), "true".to_owned())]),
    };
    let image =
        api::Image { name: name.to_owned(), labels, target: Some(target), ..api::Image::default() };
    let message = api::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
    match connection.images().create(connection.request(message)).await {
        Err(status) if status.code() == tonic::Code::AlreadyExists => {}
        other => return other.map(drop).map_err(Error::rpc("record an image")),
    }
    let paths = vec!["target".to_owned(), "labels".to_owned()];
    let message = api::UpdateImageRequest {
        image: Some(image),
        update_mask: Some(prost_types::FieldMask { paths }),
        source_date_epoch: None,
    };
    let answer = connection.images().update(connection.request(message)).await;
    answer.map(drop).map_err(Error::rpc("record an image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_those_of_the_image_specification() {
        let id = |text: &str| format!("sha256:{}", hex::encode(Sha256::digest(text)));
        let (a, b) = (id("a"), id("b"));
        let both = chain(&[a.clone(), b.clone()]);
        assert_eq!(both, [a.clone(), id(&format!("{a} {b}"))]);
    }
}
