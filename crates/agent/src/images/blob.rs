//! Blobs: into containerd's content store and out of it.

use super::{OnProgress, Progress};
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use bytes::Bytes;
use containerd_client::services::v1 as api;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Manifests and configurations that are larger are not believed.
const SMALL: usize = 8 << 20;

/// containerd refuses messages of 16 MiB; a tenth of that keeps memory low.
const CHUNK: usize = 1 << 20;

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A lease: while it lasts, what was made under it is not collected.
pub(super) struct Lease {
    connection: Connection,
    pub(super) id: String,
    released: bool,
}

impl Lease {
    pub(super) async fn take(connection: &Connection) -> Result<Self, Error> {
        // The kernel's own source of unique names saves us one.
        let path = "/proc/sys/kernel/random/uuid";
        let uuid = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let id = format!("image-{}", uuid.trim());
        let message = api::CreateRequest { id: id.clone(), labels: HashMap::new() };
        let request = connection.request(message);
        connection.leases().create(request).await.map_err(Error::rpc("grant a lease"))?;
        Ok(Self { connection: connection.clone(), id, released: false })
    }

    /// Covers something that existed before.
    pub(super) async fn cover(&self, kind: &str, id: &str) -> Result<(), Error> {
        let resource = api::Resource { id: id.to_owned(), r#type: kind.to_owned() };
        let message = api::AddResourceRequest { id: self.id.clone(), resource: Some(resource) };
        let request = self.connection.request(message);
        let answer = self.connection.leases().add_resource(request).await;
        answer.map(drop).map_err(Error::rpc("extend a lease"))
    }

    /// Ends it.
    pub(super) async fn release(mut self) {
        self.released = true;
        release(self.connection.clone(), std::mem::take(&mut self.id)).await;
    }
}

impl Drop for Lease {
    /// A pull that is given up lets go of what it has fetched so far.
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let released = release(self.connection.clone(), std::mem::take(&mut self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(released)); // Whoever would have waited for it is gone.
        }
    }
}

async fn release(connection: Connection, id: String) {
    let message = api::DeleteRequest { id: id.clone(), sync: false };
    if let Err(status) = connection.leases().delete(connection.request(message)).await {
        tracing::warn!(lease = id, error = status.message(), "lease not released");
    }
}

/// Whether a blob is here. If it is, the lease covers it from now on.
pub(super) async fn exists(
    connection: &Connection,
    lease: &Lease,
    digest: &str,
) -> Result<bool, Error> {
    let request = connection.request(api::InfoRequest { digest: digest.to_owned() });
    match connection.content().info(request).await {
        Ok(_) => lease.cover("content", digest).await.map(|()| true),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(Error::rpc("look for a blob")(status)),
    }
}

/// Reads a small blob whole.
pub(super) async fn read(connection: &Connection, digest: &str) -> Result<Vec<u8>, Error> {
    let message = api::ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 };
    let answer = connection.content().read(connection.request(message)).await;
    let mut parts = answer.map_err(Error::rpc("read a blob"))?.into_inner();
    let mut whole = Vec::new();
    while let Some(part) = parts.message().await.map_err(Error::rpc("read a blob"))? {
        whole.extend_from_slice(&part.data);
        if whole.len() > SMALL {
            let problem = "a manifest or configuration is unreasonably large".to_owned();
            return Err(Error::BadImage { name: digest.to_owned(), problem });
        }
    }
    Ok(whole)
}

/// Writes a small blob whole, and sees to it that it bears `labels`.
pub(super) async fn write(
    connection: &Connection,
    lease: &Lease,
    bytes: Vec<u8>,
    labels: HashMap<String, String>,
) -> Result<String, Error> {
    let digest = digest(&bytes);
    if exists(connection, lease, &digest).await? {
        label(connection, &digest, labels).await?;
        return Ok(digest);
    }
    let size = bytes.len() as u64;
    let stream = futures::stream::once(async move { Ok(Bytes::from(bytes)) }).boxed();
    write_stream(connection, lease, &digest, size, stream, None).await?;
    label(connection, &digest, labels).await?;
    Ok(digest)
}

/// Adds labels to a blob that is here.
pub(super) async fn label(
    connection: &Connection,
    digest: &str,
    labels: HashMap<String, String>,
) -> Result<(), Error> {
    if labels.is_empty() {
        return Ok(());
    }
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let info = api::Info { digest: digest.to_owned(), labels, ..api::Info::default() };
    let mask = prost_types::FieldMask { paths };
    let message = api::UpdateRequest { info: Some(info), update_mask: Some(mask) };
    let answer = connection.content().update(connection.request(message)).await;
    answer.map(drop).map_err(Error::rpc("label a blob"))
}

/// Writes a blob as it arrives. containerd checks its digest and size.
pub(super) async fn write_stream(
    connection: &Connection,
    lease: &Lease,
    digest: &str,
    size: u64,
    mut source: BoxStream<'static, io::Result<Bytes>>,
    progress: Option<&OnProgress>,
) -> Result<(), Error> {
    // Of its own to each writer: two that share a name would lock each other out.
    let name = format!("{}-{digest}", lease.id);
    let total = i64::try_from(size).unwrap_or(i64::MAX);
    let (sender, receiver) = mpsc::channel(2);
    let message = |action, offset: u64, data| api::WriteContentRequest {
        action,
        r#ref: name.clone(),
        total,
        expected: digest.to_owned(),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        data,
        labels: HashMap::new(),
    };
    let pump = async {
        let sender = sender;
        let mut offset = 0;
        while let Some(bytes) = source.try_next().await? {
            for chunk in bytes.chunks(CHUNK) {
                let write = message(api::WriteAction::Write as i32, offset, chunk.to_vec());
                if sender.send(write).await.is_err() {
                    return Ok(()); // containerd has said why it hangs up.
                }
                offset += chunk.len() as u64;
                if let Some(progress) = progress {
                    progress(Progress { digest: digest.to_owned(), done: offset, total: size });
                }
            }
        }
        let commit = message(api::WriteAction::Commit as i32, offset, Vec::new());
        drop(sender.send(commit).await);
        Ok(())
    };
    let request = connection.leased(ReceiverStream::new(receiver), &lease.id);
    let drain = async {
        let mut answers = connection.content().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    };
    let (pumped, drained): (io::Result<()>, Result<(), tonic::Status>) = tokio::join!(pump, drain);
    pumped.map_err(Error::io("receive", digest))?;
    match drained {
        Err(status) if status.code() == tonic::Code::AlreadyExists => {
            lease.cover("content", digest).await
        }
        other => other.map_err(Error::rpc("store a blob")),
    }
}
