//! Websocket services, apart from the websocket.
//!
//! A service sees a [`Socket`]: texts in, texts out, both queues bounded, so
//! that a slow peer slows its own session and nobody else's. What is on the
//! other side is either a connection that the edge pumps, or a [`Peer`] in a
//! test.

use crate::Cx;
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use wire::Fault;

/// How many texts may wait in each direction.
const QUEUE: usize = 64;

/// The query of an upgrade request, decoded. The last of equal names wins.
pub type Query = BTreeMap<String, String>;

/// A service that talks over websockets. Mounted on the edge, which verifies the
/// signature of the upgrade request before anything here is asked.
#[async_trait]
pub trait SocketService: Send + Sync {
    /// Where it is mounted: `/acs/ws`. Matched exactly.
    fn path(&self) -> &'static str;

    /// What the caller must be allowed to do, as IAM names it: `("ecs", "Poll")`.
    fn action(&self) -> (&'static str, &'static str);

    /// Whether to talk to this caller. A refusal is an HTTP answer instead of an
    /// upgrade, which is the only kind that a websocket client reports in full.
    async fn admit(&self, cx: &Cx, query: &Query) -> Result<(), Fault>;

    /// Talks until either side has had enough. Returning closes the socket.
    async fn serve(&self, cx: Cx, query: Query, socket: Socket);
}

/// The service's end of a conversation.
#[derive(Debug)]
pub struct Socket {
    incoming: mpsc::Receiver<String>,
    outgoing: mpsc::Sender<Outgoing>,
}

/// What a service puts on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// The end of the conversation, with a websocket close code.
    Close(u16, String),
}

/// The conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the socket is closed")]
pub struct Closed;

impl Socket {
    /// A conversation without a network. The edge pumps the [`Peer`] into a
    /// connection; a test plays it.
    pub fn pair() -> (Self, Peer) {
        let (to_service, incoming) = mpsc::channel(QUEUE);
        let (outgoing, from_service) = mpsc::channel(QUEUE);
        (Self { incoming, outgoing }, Peer { to_service, from_service })
    }

    /// The next text, or `None` once the peer is gone. Safe to drop half-way.
    pub async fn recv(&mut self) -> Option<String> {
        self.incoming.recv().await
    }

    /// Queues a text. Waits while the peer is slow; an answer means that the
    /// text is queued, not that it arrived.
    pub async fn send(&self, text: String) -> Result<(), Closed> {
        self.outgoing.send(Outgoing::Text(text)).await.map_err(|_| Closed)
    }

    /// Ends the conversation and says why. What was sent before still goes out.
    pub async fn close(self, code: u16, reason: &str) {
        // To a peer that has already gone there is nothing to say.
        drop(self.outgoing.send(Outgoing::Close(code, reason.to_owned())).await);
    }
}

/// The far end of a [`Socket`].
#[derive(Debug)]
pub struct Peer {
    pub(crate) to_service: mpsc::Sender<String>,
    pub(crate) from_service: mpsc::Receiver<Outgoing>,
}

impl Peer {
    /// Says something to the service.
    pub async fn send(&self, text: impl Into<String>) -> Result<(), Closed> {
        self.to_service.send(text.into()).await.map_err(|_| Closed)
    }

    /// What the service says next, or `None` once it has hung up.
    pub async fn recv(&mut self) -> Option<Outgoing> {
        self.from_service.recv().await
    }
}
