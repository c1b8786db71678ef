//! One blob of an image, from whoever has it. What has come stays when the line
//! breaks, or the agent dies, and the next attempt asks for the rest.

use super::blob::{self, Ingest, Lease};
use super::manifest::Descriptor;
use super::progress::Ongoing;
use super::registry::{Arriving, Sources};
use super::trouble::{Patience, PullError};
use crate::runtime::connection::Connection;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

/// With this much more of a blob, an attempt was no failure.
const ADVANCE: u64 = 1 << 20;

/// Who writes which blob: images that share a layer fetch it one after the other,
/// which is to say once.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take(&self, digest: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(digest.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

/// Sees to it that a blob is here and covered by the lease.
pub(super) async fn fetch(
    connection: &Connection,
    lease: &Lease,
    turns: &Turns,
    sources: &Sources,
    wanted: &Descriptor,
    progress: &Ongoing,
) -> Result<(), PullError> {
    let size = u64::try_from(wanted.size).unwrap_or(0);
    let _turn = turns.take(&wanted.digest).await;
    if blob::exists(connection, lease, &wanted.digest).await.map_err(PullError::Store)? {
        progress.reached(&wanted.digest, size);
        return Ok(());
    }
    let ingest = Ingest::lasting(&wanted.digest, size);
    let here = || async { ingest.begun(connection, lease).await.map_err(PullError::Store) };
    let mut patience = Patience::default();
    let mut anew = true;
    let mut before = here().await?;
    progress.reached(&wanted.digest, before);
    loop {
        let (at, source) = sources.current();
        let attempt = async {
            let arriving = if before == size && size > 0 {
                Arriving { offset: size, bytes: futures::stream::empty().boxed() }
            } else {
                source.blob(sources.image(), wanted, before).await?
            };
            let reached = |done| progress.reached(&wanted.digest, done);
            let written =
                ingest.write(connection, lease, arriving.offset, arriving.bytes, reached).await;
            written.map_err(|error| PullError::stream(sources.image(), error))
        };
        let Err(error) = attempt.await else { return Ok(()) };
        if matches!(error, PullError::Content { .. }) {
            // It may have been somebody before us who wrote the wrong bytes.
            ingest.abandon(connection).await.map_err(PullError::Store)?;
            if before > 0 && std::mem::take(&mut anew) {
                before = 0;
                continue;
            }
        }
        let after = here().await?;
        if after >= before.saturating_add(ADVANCE) {
            patience = Patience::default();
        }
        sources.endure(at, error, &mut patience).await?;
        // Whoever was told to stop may have written a little more meanwhile.
        before = here().await?;
    }
}
