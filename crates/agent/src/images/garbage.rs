//! Blobs and file systems that containerd has no record of any more, but still has.

use super::SNAPSHOTTER;
use super::blob::Lease;
use crate::reserve::Reserve;
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use containerd_client::services::v1::snapshots as snap;
use std::collections::HashMap;

/// Has containerd collect them, and returns when it has. What is set aside is given up if
/// there is no room for that: to remove something, containerd has to write a little.
///
/// containerd looks at file systems only when one has gone since it last did, whether or
/// not it was able to remove it then; so one goes that was made for it.
pub(super) async fn collect(connection: &Connection, reserve: &Reserve) -> Result<(), Error> {
    match once(connection).await {
        Err(error) if is_full(&error) && reserve.give_up() => once(connection).await,
        collected => collected,
    }
}

async fn once(connection: &Connection) -> Result<(), Error> {
    let lease = Lease::take(connection).await?;
    let message = snap::PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: lease.id(),
        parent: String::new(),
        labels: HashMap::new(),
    };
    let prepared = connection.snapshots().prepare(connection.leased(message, &lease.id())).await;
    // Even so the blobs go, which may be what makes room for the rest.
    lease.clear().await?;
    prepared.map(drop).map_err(Error::rpc("prepare a file system"))
}

/// Whether a disk is full.
pub(super) fn is_full(error: &Error) -> bool {
    // containerd passes on the kernel's own words.
    crate::error::chain(error).contains("no space left on device")
}
