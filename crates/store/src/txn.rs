//! One transaction: what it reads, and what it will write.

use crate::derived::{Derivations, Derived};
use crate::registry::Encoder;
use crate::store::MAX_OPERATIONS;
use crate::view::{Entry, Erased, Value};
use crate::{Commit, Guard, Interest, Key, Record, Registry, Revision, StoreError, View, Write};
use ident::Scope;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A transaction in progress.
///
/// It reads the newest state with its own writes in it. Reads of records by way
/// of the transaction become *guards*: should another machine change such a
/// record before the commit is durable, the transaction runs again. Guards name
/// records that were found, or asked for by id; that no further record has
/// joined a list is not guarded.
///
/// Wide reads, such as scheduling over a whole cluster, go to [`Txn::view`],
/// which guards nothing, followed by a [`Txn::get`] of the few records that
/// the decision hangs on.
#[derive(Debug)]
pub struct Txn {
    registry: Registry,
    base: Arc<View>,
    /// The base with our writes in it.
    working: View,
    derivations: Derivations,
    /// The revision that we make if we write.
    revision: Revision,
    writes: BTreeMap<Key, Option<Pen>>,
    guards: RefCell<BTreeMap<Key, Option<Revision>>>,
    /// What those who wait for it are to hear of.
    touched: Vec<Interest>,
    /// The scope of the last key: nearly always that of the next one, too.
    scope: RefCell<Option<Arc<Scope>>>,
    /// The first reason why this cannot commit, so that `put` needs no result.
    flaw: Option<StoreError>,
}

/// A record to be written, and how. Encoded at the end, once, however often the
/// transaction changes its mind.
struct Pen {
    record: Arc<Erased>,
    encode: Encoder,
}

impl std::fmt::Debug for Pen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("..")
    }
}

impl Txn {
    pub(crate) fn new(registry: Registry, base: Arc<View>, derivations: Derivations) -> Self {
        Self {
            registry,
            working: View::clone(&base),
            derivations,
            revision: base.revision().next(),
            base,
            writes: BTreeMap::new(),
            guards: RefCell::default(),
            touched: Vec::new(),
            scope: RefCell::default(),
            flaw: None,
        }
    }

    /// The record of this id.
    pub fn get<R: Record>(&self, scope: &Scope, id: &str) -> Option<Arc<R>> {
        self.guard::<R>(scope, id);
        self.working.get(scope, id)
    }

    /// The records of `scope`, ordered by id. The iterator stands for the
    /// moment it was asked for, and does not hinder writing meanwhile.
    pub fn list<R: Record>(&self, scope: &Scope) -> impl Iterator<Item = Arc<R>> + use<R> {
        self.guarded(self.working.list(scope))
    }

    /// The records of every scope, ordered by scope and id.
    pub fn all<R: Record>(&self) -> impl Iterator<Item = Arc<R>> + use<R> {
        self.guarded(self.working.all())
    }

    /// The records of `scope` that have `value` in `index`, ordered by id.
    pub fn by<R: Record>(
        &self,
        scope: &Scope,
        index: &'static str,
        value: &str,
    ) -> impl Iterator<Item = Arc<R>> + use<R> {
        self.guarded(self.working.by(scope, index, value))
    }

    /// The records of every scope that have `value` in `index`, ordered by
    /// scope and id.
    pub fn by_any_scope<R: Record>(
        &self,
        index: &'static str,
        value: &str,
    ) -> impl Iterator<Item = Arc<R>> + use<R> {
        self.guarded(self.working.by_any_scope(index, value))
    }

    /// The state with our writes in it, to be read without guards.
    pub fn view(&self) -> &View {
        &self.working
    }

    /// What is derived from the records of `scope`, with our writes in it. Like the
    /// view it guards nothing. Who asks may arrange it for his question; what he has it
    /// say of a subject is a supposition, to be followed by a [doubt](Self::doubt).
    pub fn derived<D: Derived>(&mut self, scope: &Scope) -> &mut D {
        self.derivations.of(&self.working, scope, !self.writes.is_empty())
    }

    /// Has `subject` worked out anew before anybody asks again: who asked has supposed
    /// something of it, and written or not what makes it so.
    pub fn doubt<D: Derived>(&mut self, scope: &Scope, subject: String) {
        self.derivations.doubt::<D>(scope, subject);
    }

    /// The same, derived now from the records alone. Both are equal, unless a
    /// subject follows from something that it is not said to follow from: tests
    /// ask for this.
    pub fn derived_anew<D: Derived>(&self, scope: &Scope) -> D {
        self.derivations.anew(&self.working, scope)
    }

    /// Writes `record` when the transaction commits, and hands it back to be read.
    pub fn put<R: Record>(&mut self, record: R) -> Arc<R> {
        let record = Arc::new(record);
        let encode = match self.registry.encoder::<R>() {
            Ok(encode) => encode,
            Err(flaw) => {
                self.spoil(flaw);
                return record;
            }
        };
        let key = self.key::<R>(record.scope(), &record.id());
        let entry = Entry::new(Arc::clone(&record), self.revision);
        let pen = Pen { record: Arc::<R>::clone(&record), encode };
        self.change(&key, |working| working.insert(R::KIND, &key, entry));
        self.writes.insert(key, Some(pen));
        record
    }

    /// Deletes the record of this id when the transaction commits, and says
    /// whether there is one.
    pub fn delete<R: Record>(&mut self, scope: &Scope, id: &str) -> bool {
        self.guard::<R>(scope, id);
        let found = self.working.written::<R>(scope, id).is_some();
        if found {
            let key = self.key::<R>(scope, id);
            self.change(&key, |working| working.remove(R::KIND, &key));
            if self.base.written::<R>(scope, id).is_some() {
                self.writes.insert(key, None);
            } else {
                self.writes.remove(&key);
            }
        }
        found
    }

    /// Deletes the record under `key`, whatever it is, and says whether there is
    /// one. For who ends an account; everybody else knows what they delete.
    pub fn erase(&mut self, key: &Key) -> bool {
        let before = self.base.find(key).map(|(_, revision)| revision);
        self.guards.borrow_mut().insert(key.clone(), before);
        let Some((kind, _)) = self.working.find(key) else { return false };
        self.change(key, |working| working.remove(kind, key));
        // All else in it goes too, sooner or later.
        self.derivations.forget(&key.scope);
        if before.is_some() {
            self.writes.insert(key.clone(), None);
        } else {
            self.writes.remove(key);
        }
        true
    }

    /// Makes a change to the record under `key`, and notes what it was about and is.
    fn change(&mut self, key: &Key, change: impl FnOnce(&mut View) -> BTreeSet<Value>) {
        self.derivations.note(&self.working, key);
        let values = change(&mut self.working);
        self.derivations.note(&self.working, key);
        let Key { scope, kind, id } = key;
        self.touched.push(Interest::of_record(kind, scope, id));
        self.touched.extend(values.into_iter().map(|it| Interest::of_value(kind, scope, it)));
    }

    fn guard<R: Record>(&self, scope: &Scope, id: &str) {
        let revision = self.base.written::<R>(scope, id);
        self.guards.borrow_mut().insert(self.key::<R>(scope, id), revision);
    }

    fn guarded<R: Record>(
        &self,
        records: impl Iterator<Item = Arc<R>>,
    ) -> std::vec::IntoIter<Arc<R>> {
        let records: Vec<_> = records.collect();
        for record in &records {
            self.guard::<R>(record.scope(), &record.id());
        }
        records.into_iter()
    }

    fn key<R: Record>(&self, scope: &Scope, id: &str) -> Key {
        let mut last = self.scope.borrow_mut();
        let scope = match &*last {
            Some(last) if **last == *scope => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(scope.clone()))),
        };
        Key { scope, kind: Cow::Borrowed(R::KIND), id: id.into() }
    }

    fn spoil(&mut self, flaw: StoreError) {
        self.flaw.get_or_insert(flaw);
    }

    /// Gives all up, but for what is derived, to go on with.
    pub(crate) fn abandon(self) -> Derivations {
        self.derivations
    }

    /// What this transaction amounts to, or nothing if it wrote nothing; and what is
    /// derived, to go on with.
    pub(crate) fn finish(self) -> (Result<Option<Written>, StoreError>, Derivations) {
        let Self { mut working, derivations, revision, writes, guards, touched, flaw, .. } = self;
        let operations = writes.len();
        let commit = match flaw {
            Some(flaw) => Err(flaw),
            None if operations > MAX_OPERATIONS => {
                Err(StoreError::TooLarge { operations, limit: MAX_OPERATIONS })
            }
            None if operations == 0 => Ok(None),
            None => encode(writes).map(|writes| {
                let guards = guards.into_inner().into_iter();
                let guards = guards.map(|(key, revision)| Guard { key, revision }).collect();
                working.advance(revision);
                let commit = Commit { revision, guards, writes };
                Some(Written { view: Arc::new(working), commit, touched })
            }),
        };
        (commit, derivations)
    }
}

/// What a transaction has written.
pub(crate) struct Written {
    /// The state after it.
    pub(crate) view: Arc<View>,
    pub(crate) commit: Commit,
    /// What those who wait for it are to hear of.
    pub(crate) touched: Vec<Interest>,
}

fn encode(writes: BTreeMap<Key, Option<Pen>>) -> Result<Vec<Write>, StoreError> {
    let encode = |(key, pen): (Key, Option<Pen>)| match pen
        .map(|pen| (pen.encode)(&*pen.record))
        .transpose()
    {
        Ok(value) => Ok(Write { key, value }),
        Err(cause) => Err(StoreError::Encode { key, cause }),
    };
    writes.into_iter().map(encode).collect()
}
