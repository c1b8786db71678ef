//! From a registry.

use super::blob::{self, Lease};
use super::garbage;
use super::layer::{self, Turns};
use super::manifest::Manifest;
use super::progress::Ongoing;
use super::registry::{ACCEPTED, Sources};
use super::trouble::PullError;
use super::unpack;
use crate::reserve::Reserve;
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::time::Duration;

/// Layers that are fetched at once.
const PARALLEL: usize = 3;

/// How often a pull goes on after what it had fetched was collected under it.
const RESUMPTIONS: u32 = 3;

/// Fetches an image and unpacks it. What has come of it is `kept` so long if it comes to
/// nothing.
pub(super) async fn pull(
    connection: &Connection,
    turns: &Turns,
    sources: &Sources,
    progress: &Ongoing,
    (reserve, kept): (&Reserve, Duration),
) -> Result<(), PullError> {
    let lease = Lease::lasting(connection, kept).await.map_err(PullError::Store)?;
    let mut left = RESUMPTIONS;
    let fetched = loop {
        let fetched = tokio::select! {
            fetched = fetch(connection, &lease, turns, sources, progress) => fetched,
            never = lease.keep() => match never {},
        };
        match fetched {
            // The lease has ended under us all the same, as it does on a machine that
            // slept. Whatever is still here is not fetched again.
            Err(error) if error.is_collected() && left > 0 => {
                let (image, error) = (sources.image(), crate::error::chain(&error));
                tracing::info!(image, error, "what was here of it is gone; going on");
                left -= 1;
                lease.renew().await.map_err(PullError::Store)?;
            }
            fetched => break fetched,
        }
    };
    match &fetched {
        Ok(()) => lease.release().await,
        // What fills the disk keeps everybody from going on, us too.
        Err(error) if error.is_full() => {
            reserve.give_up();
            lease.release().await;
            // Blobs and file systems go at the same time. What finds no room to be removed
            // has what the others took the second time.
            drop(garbage::collect(connection, reserve).await);
            if let Err(error) = garbage::collect(connection, reserve).await {
                let error = crate::error::chain(&error);
                tracing::warn!(error, "what came of a pull still takes up room");
            }
        }
        // What has come so far serves the next pull.
        Err(_) => {}
    }
    fetched
}

async fn fetch(
    connection: &Connection,
    lease: &Lease,
    turns: &Turns,
    sources: &Sources,
    progress: &Ongoing,
) -> Result<(), PullError> {
    let name = sources.image();
    let found = find(sources).await?;
    // All blobs, the configuration with them.
    let manifest = &found.manifest;
    let blobs: Vec<_> = manifest.config.iter().chain(&manifest.layers).cloned().collect();
    for blob in &blobs {
        progress.expects(&blob.digest, u64::try_from(blob.size).unwrap_or(0));
    }
    let fetched = futures::stream::iter(blobs.into_iter().map(|blob| async move {
        layer::fetch(connection, lease, turns, sources, &blob, progress).await
    }));
    fetched.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;

    let store = async {
        let size = found.bytes.len();
        let labels = unpack::references(manifest);
        let digest = blob::write(connection, lease, found.bytes.to_vec(), labels).await?;
        unpack::unpack(connection, lease, name, manifest).await?;
        let (kind, target, size) = match found.index {
            None => (media_type(&found.bytes, ACCEPTED[1]), digest, size),
            Some(top) => {
                let label =
                    HashMap::from([("containerd.io/gc.ref.content.m.0".to_owned(), digest)]);
                let size = top.len();
                let kind = media_type(&top, ACCEPTED[0]);
                let digest = blob::write(connection, lease, top.to_vec(), label).await?;
                (kind, digest, size)
            }
        };
        unpack::record(connection, name, &kind, &target, size, unpack::Origin::Registry).await
    };
    store.await.map_err(PullError::Store)
}

/// What an image's name leads to.
struct Found {
    manifest: Manifest,
    /// The manifest as it came.
    bytes: Bytes,
    /// The index that led to it, if there was one.
    index: Option<Bytes>,
}

async fn find(sources: &Sources) -> Result<Found, PullError> {
    let bad = |problem: String| {
        PullError::Store(Error::BadImage { name: sources.image().to_owned(), problem })
    };
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Manifest>(bytes).map_err(|error| bad(error.to_string()))
    };
    let top = sources.manifest(None).await.map_err(|error| sources.of_tag(error))?;
    let manifest = parse(&top)?;
    if manifest.config.is_some() {
        return Ok(Found { manifest, bytes: top, index: None });
    }
    let chosen = manifest.choose().ok_or_else(|| bad(manifest.lack()))?;
    let bytes = sources.manifest(Some(&chosen.digest)).await?;
    Ok(Found { manifest: parse(&bytes)?, bytes, index: Some(top) })
}

/// The media type that a manifest gives itself.
fn media_type(manifest: &[u8], otherwise: &str) -> String {
    let value: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let own = value.get("mediaType").and_then(|kind| kind.as_str());
    own.unwrap_or(otherwise).to_owned()
}
