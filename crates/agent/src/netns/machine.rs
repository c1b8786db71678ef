//! The door of the machine itself, for tasks in its network.
//!
//! [`TASK_ENDPOINT`] lies on a link of our own, so that it can be told from everybody
//! else's and goes with the installation. The link is a bridge with nothing on it: every
//! kernel that has containers has bridges.

use super::door::{self, Built};
use super::{Error, TASK_ENDPOINT, link};
use std::path::Path;

/// As the bridge of tasks, this has a hardware address of its own, or it would change.
const MAC: [u8; 6] = [0x02, 0x42, 169, 254, 170, 2];

/// Makes what is missing of the door, and builds it there. That another agent listens at
/// the same address is an error.
pub(super) async fn build(prefix: &str) -> Result<Built, Error> {
    let host = link::open()?;
    let link = name(prefix);
    link::bridge(&host, &link, (TASK_ENDPOINT, 32), &MAC).await?;
    let built = tokio::task::spawn_blocking(move || door::build_here(&link)).await;
    let built = built.map_err(std::io::Error::other).and_then(|built| built);
    built.map_err(Error::io("open the door of", Path::new("/proc/self/ns/net")))
}

/// Removes what there is of it.
pub(super) async fn close(prefix: &str) -> Result<(), Error> {
    let host = link::open()?;
    link::remove(&host, &name(prefix)).await.map(drop)
}

fn name(prefix: &str) -> String {
    super::bridge::link_name(prefix, "door")
}
