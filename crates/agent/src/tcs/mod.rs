//! TCS: over which the control plane hears how containers fare.

mod health;
mod metrics;

use crate::api::Identity;
use crate::backoff::Jitter;
use crate::clock;
use crate::rim::Rim;
use crate::socket::{self, SocketError};
use crate::usage::{AllWritten, Readings};
use futures::{SinkExt, StreamExt};
use http::Uri;
use metrics::Samples;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite;
use wire::client::Client;
use wire::tcs::{self, Message};

/// Between publications.
const PUBLISH: Duration = Duration::from_secs(20);

/// Tasks in one frame.
const TASKS_PER_FRAME: usize = 10;

/// What a connection needs.
pub(crate) struct Tcs {
    pub(crate) client: Client,
    pub(crate) identity: Identity,
    pub(crate) rim: Rim,
    /// What containers use.
    pub(crate) readings: watch::Receiver<Arc<Readings>>,
    /// What tasks have written.
    pub(crate) written: watch::Receiver<Arc<AllWritten>>,
}

impl Tcs {
    /// One connection, from its opening to its end.
    pub(crate) async fn converse(
        &self,
        endpoint: &str,
        jitter: &mut Jitter,
        connected: impl FnOnce(),
    ) -> Result<(), SocketError> {
        let uri = socket::address(
            endpoint,
            &[
                ("agentHash", crate::HASH),
                ("agentVersion", crate::VERSION),
                ("cluster", &self.identity.cluster),
                ("containerInstance", &self.identity.instance),
                ("dockerVersion", &self.identity.runtime),
            ],
        )?;
        let mut stream = socket::open(&self.client, &uri).await?;
        tracing::info!(instance = self.identity.instance, "connected to TCS");
        connected();
        let end = Instant::now() + socket::lifetime(jitter);
        let mut silent = Instant::now() + socket::patience(jitter);
        let mut publish = tokio::time::interval(PUBLISH);
        let mut readings = self.readings.clone();
        readings.mark_changed();
        publish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut samples = Samples::default();
        // What was last said of health: a change is told at once.
        let mut said = Vec::new();
        let mut number = jitter.next();
        self.send(&mut stream, &uri, &self.status(number)).await?;
        loop {
            tokio::select! {
                frame = stream.next() => {
                    match frame {
                        None | Some(Ok(tungstenite::Message::Close(_))) => return Ok(()),
                        Some(Err(error)) => return Err(error.into()),
                        Some(Ok(frame)) => tracing::trace!(%frame, "from TCS"),
                    }
                    silent = Instant::now() + socket::patience(jitter);
                }
                // The meter lasts as long as the agent.
                Ok(()) = readings.changed() => {
                    let measured = readings.borrow_and_update().clone();
                    samples.take(&measured);
                    let report = health::report(&self.rim.state().await);
                    if report != said {
                        number = number.wrapping_add(1);
                        self.publish_health(&mut stream, &uri, &report, number).await?;
                        said = report;
                    }
                }
                _ = publish.tick() => {
                    number = number.wrapping_add(1);
                    let state = self.rim.state().await;
                    let id = format!("{number:016x}");
                    let written = self.written.borrow().clone();
                    let frames =
                        samples.drain(&state, &written, &self.identity, &id, clock::now());
                    for message in frames {
                        self.send(&mut stream, &uri, &message).await?;
                    }
                    said = health::report(&state);
                    self.publish_health(&mut stream, &uri, &said, number).await?;
                }
                () = tokio::time::sleep_until(silent.min(end)) => {
                    if Instant::now() < end {
                        return Err(SocketError::TimedOut);
                    }
                    drop(tokio::time::timeout(socket::WRITE, stream.close(None)).await);
                    return Ok(());
                }
            }
        }
    }

    async fn publish_health(
        &self,
        stream: &mut socket::Stream,
        uri: &Uri,
        report: &[tcs::TaskHealth],
        number: u64,
    ) -> Result<(), SocketError> {
        let id = format!("{number:016x}");
        for message in health::frames(report, &self.identity, &id, clock::now()) {
            self.send(stream, uri, &message).await?;
        }
        Ok(())
    }

    fn status(&self, number: u64) -> Message {
        let now = Some(wire::Timestamp::from_millis(clock::now().0));
        let status = tcs::InstanceStatus {
            last_status_change: now,
            last_updated: now,
            // We got here by asking containerd.
            status: Some("OK".to_owned()),
            status_reason: None,
            r#type: Some("ContainerRuntime".to_owned()),
        };
        let metadata = tcs::InstanceStatusMetadata {
            cluster: Some(self.identity.cluster.clone()),
            container_instance: Some(self.identity.instance.clone()),
            request_id: Some(format!("{number:016x}")),
        };
        tcs::PublishInstanceStatusRequest {
            metadata: Some(metadata),
            statuses: Some(vec![status]),
            timestamp: now,
        }
        .into()
    }

    async fn send(
        &self,
        stream: &mut socket::Stream,
        uri: &Uri,
        message: &Message,
    ) -> Result<(), SocketError> {
        let json = message.encode().map_err(SocketError::Sign)?;
        let frame = self.client.frame(uri, &json, clock::now()).map_err(SocketError::Sign)?;
        let sent = stream.send(tungstenite::Message::text(frame));
        tokio::time::timeout(socket::WRITE, sent).await.map_err(|_| SocketError::TimedOut)??;
        Ok(())
    }
}
