//! Moving texts between a websocket and the service behind it.

use crate::{Cx, Metrics, Outgoing, Peer, Query, Shutdown, Socket, SocketService};
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The largest message, and the largest frame of one.
const LARGEST: usize = 1 << 20;
/// How often we ask whether the peer is there.
const PING: Duration = Duration::from_secs(50);
/// How long a peer may be silent, or not read what we write.
const SILENCE: Duration = Duration::from_mins(3);
/// How long either end may take to notice that the other has left.
const GRACE: Duration = Duration::from_secs(5);

/// A conversation about to begin.
pub(super) struct Session {
    pub(super) service: Arc<dyn SocketService>,
    pub(super) cx: Cx,
    pub(super) query: Query,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
}

impl Session {
    /// Holds the conversation, from the upgrade to its end.
    pub(super) async fn hold(self, upgrade: OnUpgrade) {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "upgrade failed");
                return;
            }
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config));
        let stream = stream.await;
        let metrics = Arc::clone(&self.metrics);
        let _open = metrics.socket();

        let (socket, peer) = Socket::pair();
        let pump = pump(stream, peer, self.shutdown);
        let serve = AssertUnwindSafe(self.service.serve(self.cx, self.query, socket));
        let (mut pump, mut serve) = (pin!(pump), pin!(serve.catch_unwind()));
        let served = tokio::select! {
            served = &mut serve => {
                drop(timeout(GRACE, pump).await);
                Some(served)
            }
            why = &mut pump => {
                tracing::debug!(why, "the peer has left");
                timeout(GRACE, serve).await.ok()
            }
        };
        match served {
            Some(Ok(())) => tracing::info!("socket closed"),
            Some(Err(panic)) => {
                metrics.panic();
                let panic = crate::panic_text(&*panic);
                tracing::error!(panic, bug = true, "the socket's service panicked");
            }
            None => tracing::warn!(bug = true, "the service did not notice that its peer left"),
        }
    }
}

/// Moves texts both ways until either side ends; says which did, and why.
async fn pump<S>(stream: WebSocketStream<S>, peer: Peer, shutdown: Shutdown) -> &'static str
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = stream.split();
    let Peer { to_service, from_service } = peer;
    let (mut reading, mut writing) =
        (pin!(read(stream, to_service)), pin!(write(sink, from_service, shutdown)));
    tokio::select! {
        why = &mut reading => why,
        why = &mut writing => {
            // The closing handshake: the peer answers our close with its own.
            drop(timeout(GRACE, reading).await);
            why
        }
    }
}

async fn read<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    to_service: mpsc::Sender<String>,
) -> &'static str
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Ok(next) = timeout(SILENCE, stream.next()).await else { return "silence" };
        match next {
            None => return "the end of the stream",
            Some(Ok(Message::Text(text))) => {
                // A service that has left hears nothing, but the peer's close
                // is still worth waiting for.
                drop(to_service.send(text.as_str().to_owned()).await);
            }
            // The library answers pings by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return "a binary message",
            Some(Ok(Message::Close(_))) => return "a close",
            Some(Err(Error::Capacity(_))) => return "a message too large",
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "socket broke");
                return "a broken connection";
            }
        }
    }
}

async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut from_service: mpsc::Receiver<Outgoing>,
    shutdown: Shutdown,
) -> &'static str
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (message, last) = tokio::select! {
            biased;
            next = from_service.recv() => match next {
                Some(Outgoing::Text(text)) => (Message::text(text), None),
                Some(Outgoing::Close(code, reason)) => {
                    (close(code, reason), Some("the service's close"))
                }
                None => (close(1000, String::new()), Some("the service's end")),
            },
            () = shutdown.requested() => {
                (close(1001, "the control plane is stopping".to_owned()), Some("the shutdown"))
            }
            _ = pings.tick() => (Message::Ping(bytes::Bytes::new()), None),
        };
        match (timeout(SILENCE, sink.send(message)).await, last) {
            (Ok(Ok(())), None) => {}
            (Ok(_), Some(why)) => return why,
            (Ok(Err(_)), None) => return "a broken connection",
            (Err(_), _) => return "a peer that does not read",
        }
    }
}

fn close(code: u16, reason: String) -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
}
