//! Running transactions, and settling them.

use crate::changes::Bulletin;
use crate::committer::{self, Committer};
use crate::derived::Derivations;
use crate::sync::lock;
use crate::txn::Written;
use crate::{
    Backend, ChangeSet, Changes, Commit, Feed, Interest, Loaded, MemoryBackend, Registry, Revision,
    StoreError, Txn, View,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many records a transaction may write. The limit is etcd's, and holds
/// everywhere so that no one grows used to more.
pub const MAX_OPERATIONS: usize = 128;

/// How often a transaction may lose a race before its caller hears of it.
pub const MAX_ATTEMPTS: u32 = 8;

/// How many transactions may wait for a durable commit. More wait their turn
/// before they run.
pub const MAX_QUEUED: usize = 1024;

/// A handle on the state. Clones are the same store.
///
/// When the last handle on a durable store is dropped, what is queued is
/// committed and the backend closed before the drop returns.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Dropped with the last handle; `None` if commits are made inline.
    _committer: Option<Arc<Committer>>,
    /// Whether what transactions did is dropped instead of committed.
    rehearses: bool,
}

/// What the handles and the committer share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    /// Held while a transaction runs, never across an await.
    pub(crate) state: Mutex<State>,
    /// Work for the committer, or the end of it.
    pub(crate) wake: Condvar,
    durable: Mutex<Arc<View>>,
    bulletin: Arc<Bulletin>,
    room: Arc<Semaphore>,
}

pub(crate) struct State {
    /// The outcome of the last transaction, durable or not yet.
    head: Arc<View>,
    /// What is derived from the head. Forgotten when the head becomes what no
    /// transaction made of the one before; also left so by one that panicked.
    derivations: Derivations,
    pub(crate) engine: Engine,
}

impl State {
    /// Goes on from `head`, of which nothing that is known now may be true.
    pub(crate) fn restart(&mut self, registry: &Registry, head: Arc<View>) {
        self.head = head;
        self.derivations = registry.derivations();
    }
}

/// How commits are made durable.
pub(crate) enum Engine {
    /// By whoever runs the transaction, at once.
    Inline(Box<dyn Backend>),
    /// By the committer's thread.
    Queued(Queue),
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<Pending>,
    /// No more will come: the last handle is gone, or the committer is.
    pub(crate) closed: bool,
}

/// A transaction that has run and is not durable yet.
pub(crate) struct Pending {
    /// What it wrote; `None` if it only read, and waits for what it read to become
    /// durable.
    pub(crate) written: Option<Written>,
    reply: oneshot::Sender<Outcome>,
    /// Its place among the [`MAX_QUEUED`].
    _permit: OwnedSemaphorePermit,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Durable,
    /// What it read has changed; it must run again.
    Conflict,
    Failed(Arc<StoreError>),
}

/// An outcome, now or later.
enum Settlement {
    Now(Outcome),
    Later(oneshot::Receiver<Outcome>),
}

impl Pending {
    /// Tells whoever waits, if anyone still does.
    pub(crate) fn settle(self, outcome: Outcome) {
        // A future dropped meanwhile does not mind.
        let _ = self.reply.send(outcome);
    }
}

impl Store {
    /// Opens the state in `backend`, with a thread of its own for commits.
    ///
    /// Whatever transactions are waiting when the thread is free become durable
    /// in one call of the backend, so that one fsync serves them all.
    pub async fn open(backend: Box<dyn Backend>, registry: Registry) -> Result<Self, StoreError> {
        let (shared, committer) = committer::start(backend, registry).await?;
        Ok(Self { shared, _committer: Some(Arc::new(committer)), rehearses: false })
    }

    /// Opens the state in `backend` without a thread. Transactions commit before
    /// they return, so that futures are ready when first polled.
    ///
    /// For tests and for the simulator, which keeps a clone of a
    /// [`MemoryBackend`] and opens it again to simulate a restart.
    pub fn open_inline(
        mut backend: Box<dyn Backend>,
        registry: Registry,
    ) -> Result<Self, StoreError> {
        let view = registry.decode(backend.load()?)?;
        let shared = Shared::new(registry, view, Engine::Inline(backend));
        Ok(Self { shared: Arc::new(shared), _committer: None, rehearses: false })
    }

    /// An empty store that commits inline, to memory.
    pub fn in_memory(registry: Registry) -> Self {
        let view = View::at(Revision::default());
        let engine = Engine::Inline(Box::new(MemoryBackend::new()));
        Self {
            shared: Arc::new(Shared::new(registry, view, engine)),
            _committer: None,
            rehearses: false,
        }
    }

    /// The newest durable state.
    pub fn view(&self) -> Arc<View> {
        self.shared.durable()
    }

    /// A handle on the same state whose transactions succeed or fail as they
    /// would, and write nothing: for who only asks whether something can be done.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        Self { rehearses: true, ..self.clone() }
    }

    /// Runs `body` on the newest state and resolves once what it did is durable.
    ///
    /// `body` is a function of the transaction and should have no other effect:
    /// it runs again if another machine's commit overtakes this one. It runs to
    /// its end while all other transactions wait, so it must neither block nor
    /// compute at length.
    ///
    /// An `Err` from `body` writes nothing. A transaction that writes nothing
    /// waits, whether it succeeds or fails, until what it may have read is
    /// durable: an answer must not rest on what is then taken back.
    ///
    /// # Cancellation
    ///
    /// Once `body` has run the commit takes its course. Dropping the future
    /// then means not to hear of the outcome, and nothing else. A future that
    /// is dropped earlier, while it waits for a place in the queue, does
    /// nothing.
    pub async fn transact<T, E: From<StoreError>>(
        &self,
        mut body: impl FnMut(&mut Txn) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..MAX_ATTEMPTS {
            let permit = Arc::clone(&self.shared.room).acquire_owned().await;
            let Ok(permit) = permit else { return Err(StoreError::Stopped.into()) };
            let (answer, settlement) = self.shared.run(&mut body, permit, self.rehearses)?;
            match settlement.outcome().await {
                Outcome::Durable => return answer,
                Outcome::Conflict => {}
                Outcome::Failed(cause) => return Err(StoreError::Unavailable { cause }.into()),
            }
        }
        Err(StoreError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// A hint whenever the durable state changes.
    pub fn subscribe(&self) -> Changes {
        self.shared.bulletin.subscribe()
    }

    /// A hint whenever the durable state changes in what is named here, and hardly
    /// ever else: for those of whom there are many.
    pub fn subscribe_to(&self, interests: &[Interest]) -> Changes {
        self.shared.bulletin.subscribe_to(interests)
    }

    /// What changes after `revision`, transaction by transaction.
    pub fn watch_from(&self, revision: Revision) -> Feed {
        self.shared.bulletin.follow(revision)
    }
}

impl Settlement {
    async fn outcome(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(reply) => {
                reply.await.unwrap_or_else(|_| Outcome::Failed(Arc::new(StoreError::Stopped)))
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(registry: Registry, view: View, engine: Engine) -> Self {
        let view = Arc::new(view);
        Self {
            bulletin: Arc::new(Bulletin::new(view.revision())),
            durable: Mutex::new(Arc::clone(&view)),
            state: Mutex::new(State { head: view, derivations: registry.derivations(), engine }),
            registry,
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(MAX_QUEUED)),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn durable(&self) -> Arc<View> {
        Arc::clone(&lock(&self.durable))
    }

    /// Runs `body` once and sets its commit on its way. Not async, so that no
    /// lock and no transaction can live across an await.
    fn run<T, E: From<StoreError>>(
        &self,
        body: &mut impl FnMut(&mut Txn) -> Result<T, E>,
        permit: OwnedSemaphorePermit,
        rehearses: bool,
    ) -> Result<(Result<T, E>, Settlement), E> {
        let mut state = self.state();
        if matches!(&state.engine, Engine::Queued(queue) if queue.closed) {
            return Err(StoreError::Stopped.into());
        }

        let unknown = self.registry.derivations();
        let derivations = std::mem::replace(&mut state.derivations, unknown);
        let mut txn = Txn::new(self.registry.clone(), Arc::clone(&state.head), derivations);
        let answer = body(&mut txn);
        let (finished, derivations) = match &answer {
            Ok(_) => txn.finish(),
            Err(_) => (Ok(None), txn.abandon()),
        };
        state.derivations = derivations;
        let written = finished.map(|written| written.filter(|_| !rehearses));
        let written = written.inspect_err(|_| state.derivations.settle(false))?;

        let settlement = if let Some(written) = written {
            self.go_on(&mut state, written, permit)
        } else {
            state.derivations.settle(false);
            self.wait_for_head(&mut state, permit)
        };
        Ok((answer, settlement))
    }

    /// Makes what was written the head, and sees to it that it becomes durable.
    fn go_on(
        &self,
        state: &mut State,
        written: Written,
        permit: OwnedSemaphorePermit,
    ) -> Settlement {
        match &mut state.engine {
            Engine::Inline(backend) => {
                let Written { view: after, commit, touched } = written;
                let batch = [commit];
                let committed = backend.commit(&batch);
                // Now, since what is loaded is what has overtaken us.
                let overtaken = matches!(committed, Err(StoreError::Conflict));
                let newer = overtaken.then(|| self.decode(backend.load()));
                Settlement::Now(match (committed, newer) {
                    (Ok(()), _) => {
                        state.head = Arc::clone(&after);
                        state.derivations.settle(true);
                        self.publish(after, batch, &touched);
                        Outcome::Durable
                    }
                    (Err(_), Some(Ok(newer))) => {
                        state.restart(&self.registry, Arc::clone(&newer));
                        self.catch_up(newer);
                        Outcome::Conflict
                    }
                    (Err(_), Some(Err(cause))) | (Err(cause), None) => {
                        state.derivations.settle(false);
                        Outcome::Failed(Arc::new(cause))
                    }
                })
            }
            Engine::Queued(queue) => {
                state.head = Arc::clone(&written.view);
                state.derivations.settle(true);
                self.enqueue(queue, Some(written), permit)
            }
        }
    }

    /// Waits until what a transaction has read is durable.
    fn wait_for_head(&self, state: &mut State, permit: OwnedSemaphorePermit) -> Settlement {
        let durable = self.durable().revision() == state.head.revision();
        match &mut state.engine {
            Engine::Queued(queue) if !durable => self.enqueue(queue, None, permit),
            Engine::Queued(_) | Engine::Inline(_) => Settlement::Now(Outcome::Durable),
        }
    }

    fn enqueue(
        &self,
        queue: &mut Queue,
        written: Option<Written>,
        permit: OwnedSemaphorePermit,
    ) -> Settlement {
        let (reply, settled) = oneshot::channel();
        queue.waiting.push_back(Pending { written, reply, _permit: permit });
        self.wake.notify_one();
        Settlement::Later(settled)
    }

    /// Lets everyone see a state that has become durable by `commits`, and tells those
    /// who wait for what was touched.
    pub(crate) fn publish(
        &self,
        view: Arc<View>,
        commits: impl IntoIterator<Item = Commit>,
        touched: &[Interest],
    ) {
        *lock(&self.durable) = view;
        self.bulletin.post(commits.into_iter().map(ChangeSet::from), touched);
    }

    /// Lets everyone see a state that others made.
    pub(crate) fn catch_up(&self, view: Arc<View>) {
        let revision = view.revision();
        *lock(&self.durable) = view;
        self.bulletin.restart(revision);
    }

    pub(crate) fn decode(
        &self,
        loaded: Result<Loaded, StoreError>,
    ) -> Result<Arc<View>, StoreError> {
        Ok(Arc::new(self.registry.decode(loaded?)?))
    }

    /// Turns away whoever waits for a place in the queue, now and later.
    pub(crate) fn stop_admitting(&self) {
        self.room.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").field("durable", &self.view()).finish_non_exhaustive()
    }
}
