//! What the suite works with: a record, a medium, and a backend that fails on
//! demand.

use crate::sync::lock;
use crate::{Backend, Commit, Loaded, MemoryBackend, Record, Registry, Store, StoreError, Txn};
use ident::Scope;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// A record of the suite: something with an id that can be found by its room,
/// and by any number of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lamp {
    /// Whose it is.
    pub scope: Scope,
    /// Its id.
    pub id: String,
    /// Indexed as `room`.
    pub room: String,
    /// Indexed as `label`, each.
    pub labels: Vec<String>,
    /// Not indexed.
    pub watts: u64,
}

impl Lamp {
    /// A lamp in [`home`](Self::home).
    pub fn new(id: &str, room: &str) -> Self {
        Self {
            scope: Self::home(),
            id: id.into(),
            room: room.into(),
            labels: Vec::new(),
            watts: 40,
        }
    }

    /// The scope that most of the suite happens in.
    pub fn home() -> Scope {
        Self::scope_of(1)
    }

    /// Another scope for each number.
    pub fn scope_of(number: u8) -> Scope {
        let account = format!("{number:012}");
        Scope {
            account: account.parse().expect("twelve digits"),
            region: "us-east-1".parse().expect("a region"),
        }
    }
}

impl Record for Lamp {
    const KIND: &'static str = "conformance.lamp";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let labels = self.labels.iter().map(|label| ("label", label.clone()));
        labels.chain([("room", self.room.clone())]).collect()
    }
}

/// A place where state outlives its store.
pub trait Medium {
    /// Opens what lies there. The suite never opens it twice at a time.
    fn open(&self) -> Box<dyn Backend>;
}

/// Memory that outlives its store.
#[derive(Debug, Default)]
pub struct MemoryMedium(MemoryBackend);

impl Medium for MemoryMedium {
    fn open(&self) -> Box<dyn Backend> {
        Box::new(self.0.clone())
    }
}

/// How the store under test commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// See [`Store::open_inline`].
    Inline,
    /// See [`Store::open`].
    Grouped,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inline, Self::Grouped];
}

/// A medium, and how to open a store on it.
pub struct Harness {
    /// How stores commit.
    pub mode: Mode,
    /// What goes wrong with backends that [`open`](Self::open) opened.
    pub faults: Faults,
    medium: Box<dyn Medium>,
}

impl fmt::Debug for Harness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Harness").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Harness {
    /// A harness on an empty medium.
    pub fn new(mode: Mode, medium: impl Medium + 'static) -> Self {
        Self { mode, faults: Faults::default(), medium: Box::new(medium) }
    }

    /// A backend as it comes.
    pub fn backend(&self) -> Box<dyn Backend> {
        self.medium.open()
    }

    /// A store for lamps.
    pub fn open(&self) -> Store {
        self.try_open(Registry::new().record::<Lamp>()).expect("the medium holds a sound state")
    }

    /// A store for whatever the registry says.
    pub fn try_open(&self, registry: Registry) -> Result<Store, StoreError> {
        let backend = Box::new(Faulty { inner: self.backend(), faults: self.faults.clone() });
        match self.mode {
            Mode::Inline => Store::open_inline(backend, registry),
            Mode::Grouped => block_on(Store::open(backend, registry)),
        }
    }
}

/// Handle on what goes wrong in a [`Faulty`] backend.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<(Mutex<Plan>, Condvar)>,
}

#[derive(Debug, Default)]
struct Plan {
    held: bool,
    /// Whether a commit waits for the gate.
    waiting: bool,
    next: Vec<Fault>,
    groups: Vec<usize>,
    last: Vec<Commit>,
}

#[derive(Debug)]
enum Fault {
    Fail,
    FailLate,
    Panic,
    Intrude(Commit),
}

impl Faults {
    /// Holds commits up until [`release`](Self::release).
    pub fn hold(&self) {
        lock(&self.shared.0).held = true;
    }

    /// Waits until a commit is held up.
    pub fn wait_for_commit(&self) {
        let mut plan = lock(&self.shared.0);
        while !plan.waiting {
            plan = self.shared.1.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets commits go on.
    pub fn release(&self) {
        lock(&self.shared.0).held = false;
        self.shared.1.notify_all();
    }

    /// Makes the next commit fail.
    pub fn fail(&self) {
        lock(&self.shared.0).next.push(Fault::Fail);
    }

    /// Makes the next commit fail after it has become durable.
    pub fn fail_late(&self) {
        lock(&self.shared.0).next.push(Fault::FailLate);
    }

    /// Makes the next commit panic.
    pub fn panic(&self) {
        lock(&self.shared.0).next.push(Fault::Panic);
    }

    /// Has another writer commit just before the next commit.
    pub fn intrude(&self, commit: Commit) {
        lock(&self.shared.0).next.push(Fault::Intrude(commit));
    }

    /// What the last call of the backend committed.
    pub fn last_group(&self) -> Vec<Commit> {
        lock(&self.shared.0).last.clone()
    }

    /// How many transactions each call of the backend has committed so far.
    pub fn groups(&self) -> Vec<usize> {
        lock(&self.shared.0).groups.clone()
    }
}

/// A backend that does what it is told to, and fails when it is told to.
#[derive(Debug)]
pub struct Faulty {
    inner: Box<dyn Backend>,
    faults: Faults,
}

impl Faulty {
    /// `inner`, at the mercy of `faults`.
    pub fn new(inner: Box<dyn Backend>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn next_fault(&self) -> Option<Fault> {
        let (plan, gate) = &*self.faults.shared;
        let mut plan = lock(plan);
        while plan.held {
            plan.waiting = true;
            gate.notify_all();
            plan = gate.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
        plan.waiting = false;
        (!plan.next.is_empty()).then(|| plan.next.remove(0))
    }
}

impl Backend for Faulty {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError> {
        let torn = || Err(StoreError::backend("writing", "the disk is on strike"));
        let fault = self.next_fault();
        match fault {
            Some(Fault::Fail) => return torn(),
            Some(Fault::Panic) => panic!("a backend that panics on demand"),
            Some(Fault::Intrude(commit)) => self.inner.commit(&[commit])?,
            Some(Fault::FailLate) => {
                self.inner.commit(batch)?;
                return torn();
            }
            None => {}
        }
        self.inner.commit(batch)?;
        let mut plan = lock(&self.faults.shared.0);
        plan.groups.push(batch.len());
        plan.last = batch.to_vec();
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future. That this suffices shows that a store needs no runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A future that has been polled once: its transaction has run.
pub(crate) type Started<'s, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 's>>;

/// Starts a transaction without waiting for it.
pub(crate) fn start<'s, T: Send + 's>(
    store: &'s Store,
    body: impl FnMut(&mut Txn) -> Result<T, StoreError> + Send + 's,
) -> (Started<'s, T>, Option<Result<T, StoreError>>) {
    let mut future: Started<'s, T> = Box::pin(store.transact(body));
    let answer = match poll(&mut future) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    };
    (future, answer)
}

/// Polls once.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a transaction to its end.
pub(crate) fn transact<T>(
    store: &Store,
    body: impl FnMut(&mut Txn) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    block_on(store.transact(body))
}

/// Writes some lamps in one transaction.
pub(crate) fn put(store: &Store, lamps: &[Lamp]) -> Result<(), StoreError> {
    transact(store, |txn| {
        for lamp in lamps {
            txn.put(lamp.clone());
        }
        Ok(())
    })
}

/// The ids of some lamps, in the order they came.
pub(crate) fn ids(lamps: impl Iterator<Item = Arc<Lamp>>) -> Vec<String> {
    lamps.map(|lamp| lamp.id.clone()).collect()
}

/// A commit such as another writer's: puts `lamp` at `revision`.
pub(crate) fn foreign(revision: crate::Revision, lamp: &Lamp) -> Commit {
    let write = crate::Write { key: key(lamp), value: Some(encoded(lamp)) };
    Commit { revision, guards: Vec::new(), writes: vec![write] }
}

pub(crate) fn key(lamp: &Lamp) -> crate::Key {
    crate::Key {
        scope: Arc::new(lamp.scope.clone()),
        kind: Lamp::KIND.into(),
        id: lamp.id.as_str().into(),
    }
}

pub(crate) fn encoded(lamp: &Lamp) -> crate::Encoded {
    crate::record::encode(lamp).expect("lamps encode")
}
