//! The websocket on which a card is spoken to.

use crate::card::frame::Frame;
use crate::card::session::CardSession;
use crate::error::Error;
use crate::records::Instance;
use async_trait::async_trait;
use chassis::{Cx, Principal, Query, Socket, SocketService};
use ident::{EniId, InstanceId, Scope};
use net::flow::{FlowsAsked, FlowsTold};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{ChangeSet, Feed};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wire::Fault;

/// Where cards connect.
pub const PATH: &str = "/_landfall/card/ws";

/// How many questions a card may have before it, and how many may wait for that.
const MOST_ASKED: usize = 4;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Where questions to the card go.
    questions: mpsc::Sender<Question>,
    /// Dropped when a newer session takes its place, which is what the older
    /// one waits for.
    _held: oneshot::Sender<()>,
}

/// What somebody wants to know from a card, and who it is.
#[derive(Debug)]
struct Question {
    enis: BTreeSet<EniId>,
    address: Option<IpAddr>,
    answer: oneshot::Sender<FlowsTold>,
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

    /// The flows of these interfaces that the card of the instance tells of, only those
    /// from or to `address` if there is one. `None` if it is not connected, or does not
    /// answer in time.
    pub async fn flows(
        &self,
        scope: &Scope,
        instance: &InstanceId,
        enis: BTreeSet<EniId>,
        address: Option<IpAddr>,
    ) -> Option<FlowsTold> {
        let key = (scope.clone(), instance.clone());
        let questions = self.open().sessions.get(&key)?.questions.clone();
        let (answer, answered) = oneshot::channel();
        let question = Question { enis: enis.clone(), address, answer };
        let asking = async {
            questions.send(question).await.ok()?;
            answered.await.ok()
        };
        let mut told = timeout(PATIENCE, asking).await.ok()??;
        // Whatever a card says, it says of these.
        told.flows.retain(|flow| enis.contains(&flow.eni));
        Some(told)
    }

    /// Opens a session and closes the one that the instance had: a card that
    /// connects again has given up its old connection, whatever that looks like
    /// from here.
    fn enter(
        &self,
        key: (Scope, InstanceId),
    ) -> (Place, mpsc::Receiver<Question>, oneshot::Receiver<()>) {
        let (held, superseded) = oneshot::channel();
        let (questions, asked) = mpsc::channel(MOST_ASKED);
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.sessions.insert(key.clone(), Session { number, questions, _held: held });
        drop(open);
        (Place { service: self.clone(), key, number }, asked, superseded)
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
        let (place, questions, superseded) = self.enter((cx.scope().clone(), id));
        let mut conversation = Conversation::new(&cx, &place.key, socket, questions);
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
    questions: mpsc::Receiver<Question>,
    /// Who waits for the answer of each number.
    asked: BTreeMap<u64, oneshot::Sender<FlowsTold>>,
    last_question: u64,
}

impl<'a> Conversation<'a> {
    fn new(
        cx: &'a Cx,
        (scope, instance): &(Scope, InstanceId),
        socket: Socket,
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        let feed = cx.store().watch_from(cx.view().revision());
        let session = CardSession::new(scope.clone(), instance.clone());
        let (asked, last_question) = (BTreeMap::new(), 0);
        Self { cx, session, socket, feed, questions, asked, last_question }
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
            // Who has given up makes room for others.
            self.asked.retain(|_, answer| !answer.is_closed());
            let text = tokio::select! {
                () = news(&mut self.feed, self.cx.scope()) => continue,
                Some(question) = self.questions.recv(), if self.asked.len() < MOST_ASKED => {
                    match self.ask(question).await {
                        Ok(()) => continue,
                        Err(end) => return end,
                    }
                }
                text = self.socket.recv() => text,
            };
            let Some(text) = text else { return End::Gone };
            if let Err(end) = self.hear(&text).await {
                return end;
            }
        }
    }

    async fn ask(&mut self, question: Question) -> Result<(), End> {
        let Question { enis, address, answer } = question;
        self.last_question += 1;
        let number = self.last_question;
        let Ok(text) = Frame::FlowsAsked(FlowsAsked { number, enis, address }).write() else {
            return Err(End::Close(close::TROUBLE, "the question cannot be written"));
        };
        self.asked.insert(number, answer);
        self.socket.send(text).await.map_err(|_| End::Gone)
    }

    async fn hear(&mut self, text: &str) -> Result<(), End> {
        let report = match Frame::read(text) {
            Ok(Frame::CardReport(report)) => report,
            Ok(Frame::FlowsTold(told)) => {
                if let Some(answer) = self.asked.remove(&told.number) {
                    // Who asked may have given up meanwhile.
                    let _nobody = answer.send(told);
                }
                return Ok(());
            }
            Ok(Frame::CardPlan(_) | Frame::FlowsAsked(_)) | Err(_) => {
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
