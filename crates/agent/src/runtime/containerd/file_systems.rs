//! The root file systems of containers: snapshots, in containerd's words.

use super::{Containerd, tolerate};
use crate::error::chain;
use crate::images::{Image, SNAPSHOTTER};
use crate::runtime::Error;
use containerd_client::services::v1::snapshots as snap;
use containerd_client::types::Mount;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

/// How long it is waited for more garbage.
const GATHERED: Duration = Duration::from_secs(1);

impl Containerd {
    pub(super) async fn prepare_rootfs(
        &self,
        runtime_id: &str,
        image: &Image,
    ) -> Result<Vec<Mount>, Error> {
        let message = snap::PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: runtime_id.to_owned(),
            parent: image.chain_id.clone(),
            // Nothing refers to it until the container is on record.
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "made".to_owned())]),
        };
        let answer = self.connection.snapshots().prepare(self.connection.request(message)).await;
        Ok(answer.map_err(Error::rpc("prepare a file system"))?.into_inner().mounts)
    }

    /// The file system of a container that was made before.
    pub(super) async fn rootfs(&self, runtime_id: &str) -> Result<Vec<Mount>, Error> {
        let message =
            snap::MountsRequest { snapshotter: SNAPSHOTTER.to_owned(), key: runtime_id.to_owned() };
        let answer = self.connection.snapshots().mounts(self.connection.request(message)).await;
        Ok(answer.map_err(Error::rpc("find a file system"))?.into_inner().mounts)
    }

    /// The file systems of containers, whether or not those are on record: an agent
    /// may have died between the two.
    pub(super) async fn file_systems(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let message =
            snap::ListSnapshotsRequest { snapshotter: SNAPSHOTTER.to_owned(), filters: Vec::new() };
        let answer = self.connection.snapshots().list(self.connection.request(message)).await;
        let mut pages = answer.map_err(Error::rpc("list file systems"))?.into_inner();
        while let Some(page) = pages.message().await.map_err(Error::rpc("list file systems"))? {
            for info in page.info {
                let made = info.labels.contains_key("containerd.io/gc.root");
                if made && info.kind == snap::Kind::Active as i32 {
                    names.push(info.name);
                }
            }
        }
        Ok(names)
    }

    /// Has containerd remove the directories of file systems that it has no record
    /// of. One that died between the two would give the next the same number, and
    /// find its directory there.
    ///
    /// It also sees to it that there is a database of file systems: if the first is asked
    /// for when the disk is full, half of one is written, and none can ever be made there.
    pub(crate) async fn sweep_file_systems(&self) {
        if let Err(error) = self.images.collect_garbage().await {
            tracing::debug!(error = chain(&error), "file systems not swept");
        }
    }

    pub(super) async fn remove_rootfs(&self, runtime_id: &str) -> Result<(), Error> {
        let message = snap::RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: runtime_id.to_owned(),
        };
        let answer = self.connection.snapshots().remove(self.connection.request(message)).await;
        tolerate(answer.map(drop), "remove a file system")?;
        self.garbage.notify_one();
        Ok(())
    }

    /// Has containerd collect what it has no record of any more, soon after file systems
    /// were removed. By itself it does so after a hundred changes, if these do not happen
    /// while it does; until then the disk stays taken.
    pub(crate) async fn collect_garbage(&self) -> Infallible {
        loop {
            self.garbage.notified().await;
            // Those of one task go together, and those of many, too.
            tokio::time::sleep(GATHERED).await;
            if let Err(error) = self.images.collect_garbage().await {
                tracing::debug!(error = chain(&error), "garbage is not collected yet");
                self.garbage.notify_one();
            }
        }
    }

    /// How many bytes of disk the file system of a container takes up beyond its image.
    pub(super) async fn rootfs_usage(&self, runtime_id: &str) -> Result<u64, Error> {
        let message =
            snap::UsageRequest { snapshotter: SNAPSHOTTER.to_owned(), key: runtime_id.to_owned() };
        match self.connection.snapshots().usage(self.connection.request(message)).await {
            Ok(answer) => Ok(u64::try_from(answer.into_inner().size).unwrap_or_default()),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(0),
            Err(status) => Err(Error::rpc("count what is written")(status)),
        }
    }
}

/// The directories that make up a file system, topmost first.
pub(super) fn layers(mounts: &[Mount]) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for mount in mounts {
        if mount.r#type == "bind" {
            layers.push(PathBuf::from(&mount.source));
        }
        let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
        layers.extend(lower.into_iter().flat_map(|lower| lower.split(':')).map(PathBuf::from));
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_from_either_kind_of_mount() {
        let overlay = Mount {
            r#type: "overlay".into(),
            options: vec!["workdir=/w".into(), "upperdir=/u".into(), "lowerdir=/b:/a".into()],
            ..Mount::default()
        };
        assert_eq!(layers(&[overlay]), [PathBuf::from("/b"), PathBuf::from("/a")]);
        let bind = Mount { r#type: "bind".into(), source: "/only".into(), ..Mount::default() };
        assert_eq!(layers(&[bind]), [PathBuf::from("/only")]);
    }
}
