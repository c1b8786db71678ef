//! The door of the machine itself, for tasks in its network.
//!
//! [`TASK_ENDPOINT`] lies on a link of our own, so that it can be told from everybody
//! else's and goes with the installation. The link is a bridge with nothing on it: every
//! kernel that has containers has bridges.

use super::{Error, TASK_ENDPOINT, door, link, nft};
use std::net::TcpListener;
use std::path::Path;

/// As the bridge of tasks, this has a hardware address of its own, or it would change.
const MAC: [u8; 6] = [0x02, 0x42, 169, 254, 170, 2];

/// Makes what is missing of the door, and listens there. That another agent listens at
/// the same address is an error.
pub(super) async fn open(prefix: &str) -> Result<TcpListener, Error> {
    let host = link::open()?;
    link::bridge(&host, &name(prefix), (TASK_ENDPOINT, 32), &MAC).await?;
    let table = table(prefix);
    let opened = tokio::task::spawn_blocking(move || door::listen(&table)).await;
    let opened = opened.map_err(std::io::Error::other).and_then(|opened| opened);
    opened.map_err(Error::io("open the door of", Path::new("/proc/self/ns/net")))
}

/// Removes what there is of it.
pub(super) async fn close(prefix: &str) -> Result<(), Error> {
    let host = link::open()?;
    if !link::remove(&host, &name(prefix)).await? {
        return Ok(());
    }
    nft::remove(table(prefix)).await
}

fn name(prefix: &str) -> String {
    super::bridge::link_name(prefix, "door")
}

fn table(prefix: &str) -> String {
    format!("{prefix}-door")
}
