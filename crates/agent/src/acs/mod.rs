//! ACS: over which the control plane says what is to run.

mod bridge;
mod convert;
mod docker;
mod session;

pub use convert::task;
pub use session::{Duty, Session};

use crate::api::Identity;
use crate::backoff::Jitter;
use crate::clock;
use crate::credentials::Credentials;
use crate::error::chain;
use crate::rim::Rim;
use crate::socket::{self, SocketError};
use futures::{SinkExt, StreamExt};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;
use wire::acs::Message;
use wire::client::Client;

/// What a connection needs.
pub(crate) struct Acs {
    pub(crate) client: Client,
    pub(crate) identity: Identity,
    pub(crate) rim: Rim,
    pub(crate) credentials: Arc<Credentials>,
    /// Where the latest sequence number is kept.
    pub(crate) memory: PathBuf,
}

impl Acs {
    /// One connection, from its opening to its end.
    ///
    /// `first` is whether this process has not been connected before: the server
    /// then sends the credentials again that we did not keep.
    pub(crate) async fn converse(
        &self,
        endpoint: &str,
        first: bool,
        jitter: &mut Jitter,
        connected: impl FnOnce(),
    ) -> Result<(), SocketError> {
        let uri = socket::address(
            endpoint,
            &[
                ("agentHash", crate::HASH),
                ("agentVersion", crate::VERSION),
                ("clusterArn", &self.identity.cluster),
                ("containerInstanceArn", &self.identity.instance),
                ("dockerVersion", &self.identity.runtime),
                ("protocolVersion", "2"),
                ("sendCredentials", if first { "true" } else { "false" }),
                ("seqNum", "1"),
            ],
        )?;
        let mut stream = socket::open(&self.client, &uri).await?;
        tracing::info!(instance = self.identity.instance, "connected to ACS");
        connected();
        let latest = self.latest();
        let mut session = Session::new(&self.identity.cluster, &self.identity.instance, latest);
        let end = Instant::now() + socket::lifetime(jitter);
        loop {
            let silent = Instant::now() + socket::patience(jitter);
            let frame = match tokio::time::timeout_at(silent.min(end), stream.next()).await {
                Ok(Some(frame)) => frame?,
                Ok(None) => return Ok(()),
                Err(_) if Instant::now() >= end => {
                    let reason = "ConnectionExpired: Reconnect to continue".into();
                    let code = tungstenite::protocol::frame::coding::CloseCode::Normal;
                    let frame = tungstenite::protocol::CloseFrame { code, reason };
                    drop(tokio::time::timeout(socket::WRITE, stream.close(Some(frame))).await);
                    return Ok(());
                }
                Err(_) => return Err(SocketError::TimedOut),
            };
            let text = match frame {
                tungstenite::Message::Text(text) => text,
                tungstenite::Message::Close(frame) => {
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    let inactive = reason.contains("InactiveInstanceException");
                    return if inactive { Err(SocketError::Inactive) } else { Ok(()) };
                }
                tungstenite::Message::Binary(_)
                | tungstenite::Message::Ping(_)
                | tungstenite::Message::Pong(_)
                | tungstenite::Message::Frame(_) => continue,
            };
            tracing::trace!(frame = %text, "from ACS");
            let message = match Message::decode(&text) {
                Ok(message) => message,
                Err(fault) => {
                    tracing::warn!(error = fault.message, "a frame that cannot be read is ignored");
                    continue;
                }
            };
            for duty in session.receive(message, clock::now()) {
                for answer in self.perform(&mut session, duty).await {
                    send(&mut stream, &answer).await?;
                }
            }
        }
    }

    async fn perform(&self, session: &mut Session, duty: Duty) -> Vec<Message> {
        match duty {
            Duty::Send(message) => vec![message],
            Duty::Accept(inputs, answers) => {
                // No word of thanks for what is not on disk.
                if self.rim.accept(inputs).await { answers } else { Vec::new() }
            }
            Duty::Compare(listed) => {
                session.verify(self.rim.stop_candidates(listed).await).into_iter().collect()
            }
            Duty::Keep(task, given) => {
                self.credentials.keep(task, *given);
                Vec::new()
            }
            Duty::Remember(number) => {
                let (path, bytes) = (self.memory.clone(), number.to_string().into_bytes());
                let write = move || crate::rim::write_durably(&path, &bytes);
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(error = chain(&error), "number not kept"),
                    Err(error) => tracing::warn!(%error, "number not kept"),
                }
                Vec::new()
            }
        }
    }

    fn latest(&self) -> i64 {
        let text = std::fs::read_to_string(&self.memory).unwrap_or_default();
        text.trim().parse().unwrap_or(-1)
    }
}

async fn send(stream: &mut socket::Stream, message: &Message) -> Result<(), SocketError> {
    let text = match message.encode() {
        Ok(text) => text,
        Err(fault) => {
            tracing::error!(kind = message.kind(), error = fault.message, "not sent");
            return Ok(());
        }
    };
    tracing::trace!(frame = text, "to ACS");
    let sent = stream.send(tungstenite::Message::text(text));
    tokio::time::timeout(socket::WRITE, sent).await.map_err(|_| SocketError::TimedOut)??;
    Ok(())
}
