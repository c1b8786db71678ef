//! Blobs: into containerd's content store and out of it.

use crate::clock;
use crate::runtime::Error;
use crate::runtime::connection::Connection;
use bytes::Bytes;
use containerd_client::services::v1 as api;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Manifests and configurations that are larger are not believed.
pub(super) const SMALL: usize = 8 << 20;

/// How long what was fetched is kept of a pull that came to nothing, or whose agent
/// died, if nobody says otherwise.
pub(super) const KEPT: Duration = Duration::from_hours(3);

/// What it is called to read what somebody else sends.
pub(super) const RECEIVE: &str = "receive";

/// containerd refuses messages of 16 MiB; a tenth of that keeps memory low.
const CHUNK: usize = 1 << 20;

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A lease: while it lasts, what was made under it is not collected.
///
/// One that is not released ends by itself, and what was fetched under it serves
/// the next pull until then. What takes longer must [`Lease::keep`] it.
pub(super) struct Lease {
    connection: Connection,
    kept: Duration,
    /// What containerd calls it. It cannot put an end off, so there may be several: what
    /// began under one goes on under it, and what begins is under the last.
    ids: Mutex<Vec<String>>,
}

impl Lease {
    pub(super) async fn take(connection: &Connection) -> Result<Self, Error> {
        Self::lasting(connection, KEPT).await
    }

    /// One that ends so long after it was last seen to.
    pub(super) async fn lasting(connection: &Connection, kept: Duration) -> Result<Self, Error> {
        let ids = Mutex::new(vec![grant(connection, kept).await?]);
        Ok(Self { connection: connection.clone(), kept, ids })
    }

    /// Under which name something begins now.
    pub(super) fn id(&self) -> String {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.last().cloned().unwrap_or_default()
    }

    /// Keeps it from ending, for ever. It is seen to often enough to fail once.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.kept / 4).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(error = crate::error::chain(&error), "lease not renewed");
            }
        }
    }

    /// Puts its end off, also if it has ended: what was covered and is still here, is.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let id = grant(&self.connection, self.kept).await?;
        let before = {
            // What begins meanwhile is under the new one.
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let before = ids.clone();
            ids.push(id);
            before
        };
        for id in before {
            let message = api::ListResourcesRequest { id: id.clone() };
            let request = self.connection.request(message);
            match self.connection.leases().list_resources(request).await {
                Ok(answer) => {
                    for resource in answer.into_inner().resources {
                        self.cover(&resource.r#type, &resource.id).await?;
                    }
                }
                Err(status) if status.code() == tonic::Code::NotFound => {
                    let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
                    ids.retain(|known| *known != id);
                }
                Err(status) => return Err(Error::rpc("list what a lease covers")(status)),
            }
        }
        Ok(())
    }

    /// Covers something that existed before.
    pub(super) async fn cover(&self, kind: &str, id: &str) -> Result<(), Error> {
        let resource = api::Resource { id: id.to_owned(), r#type: kind.to_owned() };
        let message = api::AddResourceRequest { id: self.id(), resource: Some(resource) };
        let request = self.connection.request(message);
        let answer = self.connection.leases().add_resource(request).await;
        answer.map(drop).map_err(Error::rpc("extend a lease"))
    }

    /// Ends it. What nothing else holds is collected some time.
    pub(super) async fn release(self) {
        if let Err(error) = self.end(false).await {
            tracing::warn!(error = crate::error::chain(&error), "lease not released");
        }
    }

    /// Ends it, and returns when what nothing else holds is collected.
    pub(super) async fn clear(self) -> Result<(), Error> {
        self.end(true).await
    }

    async fn end(self, sync: bool) -> Result<(), Error> {
        let Self { connection, ids, .. } = self;
        let mut ids = ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        let last = ids.pop();
        let mut ended = Ok(());
        for (id, sync) in ids.into_iter().map(|id| (id, false)).chain(last.map(|id| (id, sync))) {
            let request = connection.request(api::DeleteRequest { id, sync });
            match connection.leases().delete(request).await {
                Err(status) if status.code() == tonic::Code::NotFound => {} // It has ended.
                Err(status) => ended = Err(Error::rpc("end a lease")(status)),
                Ok(_) => {}
            }
        }
        ended
    }
}

async fn grant(connection: &Connection, kept: Duration) -> Result<String, Error> {
    // The kernel's own source of unique names saves us one.
    let path = "/proc/sys/kernel/random/uuid";
    let uuid = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let id = format!("image-{}", uuid.trim());
    let end = wire::Timestamp::from_millis(clock::now().after(kept).0).iso8601();
    let labels = end.map(|end| ("containerd.io/gc.expire".to_owned(), end));
    let message = api::CreateRequest { id: id.clone(), labels: labels.into_iter().collect() };
    let request = connection.request(message);
    connection.leases().create(request).await.map_err(Error::rpc("grant a lease"))?;
    Ok(id)
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
    let ingest = Ingest::of_lease(lease, &digest, bytes.len() as u64);
    let stream = futures::stream::once(async move { Ok(Bytes::from(bytes)) }).boxed();
    ingest.write(connection, lease, 0, stream, |_| {}).await?;
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

/// A blob that is being written.
pub(super) struct Ingest<'a> {
    /// What containerd calls it until it is whole. Two that write under one name
    /// lock each other out.
    name: String,
    digest: &'a str,
    size: u64,
}

impl<'a> Ingest<'a> {
    /// One that nobody else writes, and nobody goes on with.
    pub(super) fn of_lease(lease: &Lease, digest: &'a str, size: u64) -> Self {
        Self { name: format!("{}-{digest}", lease.id()), digest, size }
    }

    /// One that whoever comes later can go on with.
    pub(super) fn lasting(digest: &'a str, size: u64) -> Self {
        Self { name: format!("pull-{digest}"), digest, size }
    }

    /// How many bytes of it are here. The lease covers them from now on.
    pub(super) async fn begun(&self, connection: &Connection, lease: &Lease) -> Result<u64, Error> {
        let request = connection.request(api::StatusRequest { r#ref: self.name.clone() });
        let status = match connection.content().status(request).await {
            Ok(answer) => answer.into_inner().status,
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => return Err(Error::rpc("look for half a blob")(status)),
        };
        let here = status.and_then(|status| u64::try_from(status.offset).ok()).unwrap_or(0);
        if here > self.size {
            self.abandon(connection).await?;
            return Ok(0);
        }
        if here > 0 {
            lease.cover("ingests", &self.name).await?;
        }
        Ok(here)
    }

    /// Removes what is here of it.
    pub(super) async fn abandon(&self, connection: &Connection) -> Result<(), Error> {
        let request = connection.request(api::AbortRequest { r#ref: self.name.clone() });
        match connection.content().abort(request).await {
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            other => other.map(drop).map_err(Error::rpc("forget half a blob")),
        }
    }

    /// Writes it as it arrives, from `offset` on, and finishes it: containerd checks
    /// its digest and size. What came before a failure stays. `reached` is told up
    /// to which byte it is here.
    pub(super) async fn write(
        &self,
        connection: &Connection,
        lease: &Lease,
        offset: u64,
        source: BoxStream<'static, io::Result<Bytes>>,
        reached: impl Fn(u64) + Send,
    ) -> Result<(), Error> {
        let id = lease.id();
        let (sender, receiver) = mpsc::channel(2);
        let pump = self.pump(sender, offset, source, reached, || lease.id() == id);
        let (pumped, mut written) = tokio::join!(pump, converse(connection, receiver, &id));
        let is_finished = pumped.map_err(Error::io(RECEIVE, self.digest))?;
        if written.is_ok() && !is_finished {
            // containerd keeps nothing for a lease that has ended. It reads again what is
            // here, which is why this is not always done.
            let (sender, receiver) = mpsc::channel(1);
            drop(sender.send(self.message(api::WriteAction::Commit, self.size, Vec::new())).await);
            drop(sender);
            written = converse(connection, receiver, &lease.id()).await;
        }
        match written {
            Err(status) if status.code() != tonic::Code::AlreadyExists => {
                Err(Error::rpc("store a blob")(status))
            }
            // Somebody else had it, or the lease was renewed just now.
            _ => lease.cover("content", self.digest).await,
        }
    }

    /// Sends it on, and finishes it if that may be under the lease that it began under.
    /// Returns whether it is finished.
    async fn pump(
        &self,
        sender: mpsc::Sender<api::WriteContentRequest>,
        mut offset: u64,
        mut source: BoxStream<'static, io::Result<Bytes>>,
        reached: impl Fn(u64) + Send,
        may_finish: impl Fn() -> bool + Send,
    ) -> io::Result<bool> {
        while let Some(bytes) = source.try_next().await? {
            if offset + bytes.len() as u64 > self.size {
                let problem = format!("{} is longer than {} bytes", self.digest, self.size);
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            for chunk in bytes.chunks(CHUNK) {
                let write = self.message(api::WriteAction::Write, offset, chunk.to_vec());
                if sender.send(write).await.is_err() {
                    return Ok(true); // containerd has said why it hangs up.
                }
                offset += chunk.len() as u64;
                reached(offset);
            }
        }
        if offset < self.size {
            // Whoever ends in good order but too early is taken for a broken line.
            let problem = format!("it ended after {offset} of {} bytes", self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        let may_finish = may_finish();
        if may_finish {
            drop(sender.send(self.message(api::WriteAction::Commit, offset, Vec::new())).await);
        }
        Ok(may_finish)
    }

    fn message(
        &self,
        action: api::WriteAction,
        offset: u64,
        data: Vec<u8>,
    ) -> api::WriteContentRequest {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        api::WriteContentRequest {
            action: action as i32,
            r#ref: self.name.clone(),
            total: number(self.size),
            expected: self.digest.to_owned(),
            offset: number(offset),
            data,
            labels: HashMap::new(),
        }
    }
}

/// Has containerd write what it is sent, until that ends.
async fn converse(
    connection: &Connection,
    messages: mpsc::Receiver<api::WriteContentRequest>,
    lease: &str,
) -> Result<(), tonic::Status> {
    let request = connection.leased(ReceiverStream::new(messages), lease);
    let mut answers = connection.content().write(request).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Whether something that was here was collected meanwhile: its lease has ended.
pub(super) fn is_collected(error: &Error) -> bool {
    // The half of a blob that is missing when it is to be finished is no status of its own.
    let is_missing = |status: &tonic::Status| {
        status.code() == tonic::Code::NotFound
            || status.message().contains("no such file or directory")
    };
    matches!(error, Error::Rpc { source, .. } if is_missing(source))
}

/// Whether a blob could not be written because somebody else does.
pub(super) fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Rpc { source, .. }
        if source.code() == tonic::Code::Unavailable && source.message().contains("locked"))
}
