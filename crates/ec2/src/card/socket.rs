//! The websocket on which a card is spoken to.

use crate::card::frame::Frame;
use crate::card::session::CardSession;
use crate::error::Error;
use crate::records::Instance;
use async_trait::async_trait;
use chassis::{Cx, Principal, Query, Socket, SocketService};
use ident::{InstanceId, Scope};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{ChangeSet, Feed};
use tokio::sync::oneshot;
use wire::Fault;

/// Where cards connect.
pub const PATH: &str = "/_landfall/card/ws";

/// Websocket close codes, by what they mean to a card.
mod close {
    /// What you said makes no sense (policy violation).
    pub(super) const NONSENSE: u16 = 1008;
    /// Come back later (internal error).
    pub(super) const TROUBLE: u16 = 1011;
    /// You came back by another door (the first code of ours to choose).
    pub(super) const SUPERSEDED: u16 = 4000;
}

/// The service for cards.
#[derive(Clone, Debug, Default)]
pub struct CardSocket {
    open: Arc<Mutex<Open>>,
}

/// The session that each instance has now.
#[derive(Debug, Default)]
struct Open {
    last: u64,
    sessions: BTreeMap<(Scope, InstanceId), Session>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    /// Dropped when a newer session takes its place, which is what the older
    /// one waits for.
    _held: oneshot::Sender<()>,
}

/// A session's entry in [`Open`]; gone when it is dropped, however that happens.
struct Place {
    service: CardSocket,
    key: (Scope, InstanceId),
    number: u64,
}

impl CardSocket {
    /// A service without sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a session and closes the one that the instance had: a card that
    /// connects again has given up its old connection, whatever that looks like
    /// from here.
    fn enter(&self, key: (Scope, InstanceId)) -> (Place, oneshot::Receiver<()>) {
        let (held, superseded) = oneshot::channel();
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.sessions.insert(key.clone(), Session { number, _held: held });
        drop(open);
        (Place { service: self.clone(), key, number }, superseded)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is held; were it otherwise, the map is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.service.open().sessions.entry(self.key.clone())
            && entry.get().number == self.number
        {
            entry.remove();
        }
    }
}

#[async_trait]
impl SocketService for CardSocket {
    fn path(&self) -> &'static str {
        PATH
    }

    fn action(&self) -> (&'static str, &'static str) {
        ("landfall", "ServeCard")
    }

    async fn admit(&self, cx: &Cx, _query: &Query) -> Result<(), Fault> {
        let id = instance(cx).ok_or_else(|| Error::Unauthorized.fault())?;
        match cx.view().get::<Instance>(cx.scope(), id.as_str()) {
            Some(_) => Ok(()),
            None => Err(Error::NoInstance(id.to_string()).fault()),
        }
    }

    async fn serve(&self, cx: Cx, _query: Query, socket: Socket) {
        let Some(id) = instance(&cx).cloned() else { return };
        let (place, superseded) = self.enter((cx.scope().clone(), id));
        let mut conversation = Conversation::new(&cx, &place.key, socket);
        let end = tokio::select! {
            biased;
            _ = superseded => End::Close(close::SUPERSEDED, "a newer session has taken over"),
            end = conversation.go_on() => end,
        };
        drop(place);
        match end {
            End::Gone => {}
            End::Close(code, reason) => conversation.socket.close(code, reason).await,
        }
    }
}

fn instance(cx: &Cx) -> Option<&InstanceId> {
    match &cx.caller.principal {
        Principal::Instance(id) => Some(id),
        Principal::Root | Principal::Role(_) => None,
    }
}

/// How a conversation ended.
enum End {
    /// The card hung up.
    Gone,
    /// We do.
    Close(u16, &'static str),
}

struct Conversation<'a> {
    cx: &'a Cx,
    session: CardSession,
    socket: Socket,
    feed: Feed,
}

impl<'a> Conversation<'a> {
    fn new(cx: &'a Cx, (scope, instance): &(Scope, InstanceId), socket: Socket) -> Self {
        let feed = cx.store().watch_from(cx.view().revision());
        let session = CardSession::new(scope.clone(), instance.clone());
        Self { cx, session, socket, feed }
    }

    async fn go_on(&mut self) -> End {
        loop {
            if let Some(plan) = self.session.poll(&self.cx.view()) {
                let Ok(text) = Frame::CardPlan(plan).write() else {
                    return End::Close(close::TROUBLE, "the plan cannot be written");
                };
                if self.socket.send(text).await.is_err() {
                    return End::Gone;
                }
            }
            let text = tokio::select! {
                () = news(&mut self.feed, self.cx.scope()) => continue,
                text = self.socket.recv() => text,
            };
            let Some(text) = text else { return End::Gone };
            if let Err(end) = self.hear(&text).await {
                return end;
            }
        }
    }

    async fn hear(&self, text: &str) -> Result<(), End> {
        let report = match Frame::read(text) {
            Ok(Frame::CardReport(report)) => report,
            Ok(Frame::CardPlan(_)) | Err(_) => {
                return Err(End::Close(close::NONSENSE, "that is not a report"));
            }
        };
        let newest = self.cx.view().revision().0;
        if report.generation.0 > newest {
            // It will refuse whatever we say until our state has caught up.
            tracing::error!(
                instance = %self.session.instance(),
                generation = report.generation.0,
                newest,
                "a card obeys a plan from a future that our state does not know; was it set back?"
            );
        }
        let heard = self.session.on_report(self.cx.store(), &report);
        heard.await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "a card's report was lost");
            // It connects again and reports again.
            End::Close(close::TROUBLE, "the report could not be kept")
        })
    }
}

/// Waits for a change that may concern a card of `scope`.
async fn news(feed: &mut Feed, scope: &Scope) {
    let concerns = |set: &ChangeSet| {
        set.changes
            .iter()
            .any(|change| change.key.kind.starts_with("ec2.") && *change.key.scope == *scope)
    };
    while let Ok(set) = feed.next().await {
        if concerns(&set) {
            return;
        }
    }
    // Some changes are no longer known one by one: any may concern it.
}
