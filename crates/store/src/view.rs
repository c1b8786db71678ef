//! The state at one revision.

use crate::{Key, Record, Revision};
use ident::{AccountId, Scope};
use imbl::{OrdMap, OrdSet};
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;
use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// A record whose type its table knows.
pub(crate) type Erased = dyn Any + Send + Sync;

/// The state at one revision, immutable.
///
/// Maps are persistent: a new view shares everything with the one before it
/// except what the transaction wrote, so that keeping one costs next to nothing
/// and readers never wait for writers.
#[derive(Clone)]
pub struct View {
    revision: Revision,
    kinds: OrdMap<&'static str, Scopes>,
}

type Scopes = OrdMap<Arc<Scope>, Rows>;

/// The records of one kind in one scope. That a scope has its own maps is what
/// keeps a request from looking out of its account: there is nothing to filter.
#[derive(Clone, Default)]
struct Rows {
    records: OrdMap<RowId, Entry>,
    /// Flat rather than a set per value: a set takes a kilobyte even for one id.
    index: OrdSet<Posting>,
}

/// The id of a record, in place for all but the longest. A write copies the nodes
/// that it touches: what lies elsewhere would have to be visited for each copy,
/// and that is most of what a write in a large state costs.
type RowId = SmallVec<[u8; 40]>;

/// That the record `id` has a value in an index. Ordered such that the ids with
/// one value lie together, in order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    value: Value,
    id: RowId,
}

/// A value in an index: a hash of both, wide enough for two never to be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value(u128);

impl Value {
    pub(crate) fn of(index: &str, value: &str) -> Self {
        let mut hasher = SipHasher13::new();
        (index, value).hash(&mut hasher);
        Self(hasher.finish128().as_u128())
    }

    fn all_of<R: Record>(record: &R) -> BTreeSet<Self> {
        record.indexes().iter().map(|(index, value)| Self::of(index, value)).collect()
    }
}

/// A decoded record in its table.
#[derive(Clone)]
pub(crate) struct Entry {
    record: Arc<Erased>,
    /// The revision that wrote it last.
    revision: Revision,
    /// What the record is found by. Asked again when it is to be taken back, which
    /// is cheaper than to keep it.
    values: fn(&Erased) -> BTreeSet<Value>,
}

impl Entry {
    pub(crate) fn new<R: Record>(record: Arc<R>, revision: Revision) -> Self {
        let values = |record: &Erased| match record.downcast_ref::<R>() {
            Some(record) => Value::all_of(record),
            None => unreachable!("the function was made with the record, by its type"),
        };
        Self { record, revision, values }
    }

    fn typed<R: Record>(&self) -> Option<Arc<R>> {
        Arc::clone(&self.record).downcast().ok()
    }

    fn values(&self) -> BTreeSet<Value> {
        (self.values)(&*self.record)
    }
}

impl View {
    /// No records, at `revision`.
    pub(crate) fn at(revision: Revision) -> Self {
        Self { revision, kinds: OrdMap::new() }
    }

    /// The transaction that made this state.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The record of this id.
    pub fn get<R: Record>(&self, scope: &Scope, id: &str) -> Option<Arc<R>> {
        self.entry::<R>(scope, id)?.typed()
    }

    /// When the record of this id was last written.
    pub fn written<R: Record>(&self, scope: &Scope, id: &str) -> Option<Revision> {
        Some(self.entry::<R>(scope, id)?.revision)
    }

    /// The records of `scope`, ordered by id.
    pub fn list<'v, R: Record>(
        &'v self,
        scope: &Scope,
    ) -> impl Iterator<Item = Arc<R>> + use<'v, R> {
        self.rows::<R>(scope)
            .into_iter()
            .flat_map(|rows| rows.records.values())
            .filter_map(Entry::typed)
    }

    /// How many records there are in `scope`, without looking at them.
    pub fn count<R: Record>(&self, scope: &Scope) -> usize {
        self.rows::<R>(scope).map_or(0, |rows| rows.records.len())
    }

    /// The records of every scope, ordered by scope and id. For controllers,
    /// which serve all accounts; a request has a scope to keep to.
    pub fn all<R: Record>(&self) -> impl Iterator<Item = Arc<R>> + use<'_, R> {
        self.kinds
            .get(R::KIND)
            .into_iter()
            .flat_map(|scopes| scopes.values())
            .flat_map(|rows| rows.records.values())
            .filter_map(Entry::typed)
    }

    /// The records of `scope` that have `value` in `index`, ordered by id.
    pub fn by<'v, R: Record>(
        &'v self,
        scope: &Scope,
        index: &'static str,
        value: &str,
    ) -> impl Iterator<Item = Arc<R>> + use<'v, R> {
        let value = Value::of(index, value);
        self.rows::<R>(scope).into_iter().flat_map(move |rows| rows.by(value))
    }

    /// The records of every scope that have `value` in `index`, ordered by
    /// scope and id.
    pub fn by_any_scope<'v, R: Record>(
        &'v self,
        index: &'static str,
        value: &str,
    ) -> impl Iterator<Item = Arc<R>> + use<'v, R> {
        let value = Value::of(index, value);
        self.kinds
            .get(R::KIND)
            .into_iter()
            .flat_map(|scopes| scopes.values())
            .flat_map(move |rows| rows.by(value))
    }

    /// The records of `account` in every region, ordered by region and id.
    pub fn of_account<R: Record>(
        &self,
        account: &AccountId,
    ) -> impl Iterator<Item = Arc<R>> + use<'_, R> {
        let account = account.clone();
        self.kinds
            .get(R::KIND)
            .into_iter()
            .flat_map(|scopes| scopes.iter())
            .filter(move |(scope, _)| scope.account == account)
            .flat_map(|(_, rows)| rows.records.values())
            .filter_map(Entry::typed)
    }

    /// The keys of what lies in `account`, of every kind and in every region: what
    /// goes with the account when it goes.
    pub fn keys_of(&self, account: &AccountId) -> impl Iterator<Item = Key> + use<'_> {
        let account = account.clone();
        self.kinds.iter().flat_map(move |(kind, scopes)| {
            let account = account.clone();
            let scopes = scopes.iter().filter(move |(scope, _)| scope.account == account);
            scopes.flat_map(|(scope, rows)| {
                rows.records.keys().map(|id| Key {
                    scope: Arc::clone(scope),
                    kind: Cow::Borrowed(*kind),
                    id: String::from_utf8_lossy(id).into(),
                })
            })
        })
    }

    /// The records of a kind in `scope`, for who does not know their type.
    pub(crate) fn records(&self, kind: &str, scope: &Scope) -> impl Iterator<Item = &Erased> {
        let rows = self.kinds.get(kind).and_then(|scopes| scopes.get(scope));
        rows.into_iter().flat_map(|rows| rows.records.values()).map(|entry| &*entry.record)
    }

    /// The record under `key`.
    pub(crate) fn record(&self, key: &Key) -> Option<&Erased> {
        Some(&*self.kinds.get(&*key.kind)?.get(&key.scope)?.records.get(key.id.as_bytes())?.record)
    }

    /// When the record under `key` was last written, and its kind as the table has it.
    pub(crate) fn find(&self, key: &Key) -> Option<(&'static str, Revision)> {
        let (kind, scopes) = self.kinds.get_key_value(&*key.kind)?;
        Some((kind, scopes.get(&key.scope)?.records.get(key.id.as_bytes())?.revision))
    }

    fn entry<R: Record>(&self, scope: &Scope, id: &str) -> Option<&Entry> {
        self.rows::<R>(scope)?.records.get(id.as_bytes())
    }

    fn rows<R: Record>(&self, scope: &Scope) -> Option<&Rows> {
        self.kinds.get(R::KIND)?.get(scope)
    }

    /// Makes this the state at `revision`.
    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Puts a record under its key, in place of the one that was there, and says what
    /// both are found by.
    pub(crate) fn insert(
        &mut self,
        kind: &'static str,
        key: &Key,
        entry: Entry,
    ) -> BTreeSet<Value> {
        let scopes = self.kinds.entry(kind).or_default();
        scopes.entry(Arc::clone(&key.scope)).or_default().put(&key.id, Some(entry))
    }

    /// Takes the record under a key away, and says what it was found by.
    pub(crate) fn remove(&mut self, kind: &'static str, key: &Key) -> BTreeSet<Value> {
        let Some(scopes) = self.kinds.get_mut(kind) else { return BTreeSet::new() };
        let Some(rows) = scopes.get_mut(&key.scope) else { return BTreeSet::new() };
        let values = rows.put(&key.id, None);
        if rows.records.is_empty() {
            scopes.remove(&key.scope);
        }
        values
    }
}

impl Rows {
    /// Makes `after` the record of this id, or forgets it. Says what the one before and
    /// the one after are found by.
    fn put(&mut self, id: &str, after: Option<Entry>) -> BTreeSet<Value> {
        let id = RowId::from_slice(id.as_bytes());
        let new = after.as_ref().map(Entry::values).unwrap_or_default();
        let before = match after {
            Some(after) => self.records.insert(id.clone(), after),
            None => self.records.remove(&id),
        };
        let old = before.as_ref().map(Entry::values).unwrap_or_default();
        for value in old.difference(&new) {
            self.index.remove(&Posting { value: *value, id: id.clone() });
        }
        for value in new.difference(&old) {
            self.index.insert(Posting { value: *value, id: id.clone() });
        }
        let mut both = old;
        both.extend(new);
        both
    }

    fn by<R: Record>(&self, value: Value) -> impl Iterator<Item = Arc<R>> + use<'_, R> {
        let first = Posting { value, id: RowId::new() };
        self.index
            .range(first..)
            .take_while(move |posting| posting.value == value)
            .filter_map(|posting| self.records.get(&posting.id)?.typed())
    }
}

impl fmt::Debug for View {
    /// How much there is of what: a view holds the whole state.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = out.debug_struct("View");
        counts.field("revision", &self.revision.0);
        for (kind, scopes) in &self.kinds {
            counts.field(kind, &scopes.values().map(|rows| rows.records.len()).sum::<usize>());
        }
        counts.finish_non_exhaustive()
    }
}
