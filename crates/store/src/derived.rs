//! What follows from records, and is kept beside the newest of them.
//!
//! Some questions take too long to answer from the records each time: where a
//! task has room, for one. Their answer is *derived*. There is one of it, which
//! transactions pass on from one to the next: each notes which *subjects* its
//! writes are about, and who asks next has those worked out anew, from the
//! records, before it looks. So it agrees with the records whenever it is asked
//! for, costs a write next to nothing, and a subject that changed often between
//! two questions is worked out once.
//!
//! It is never durable, and nobody has to take anything back: a transaction that
//! comes to nothing leaves its subjects noted, and where that would not be
//! enough, everything is forgotten and derived anew.

use crate::view::Erased;
use crate::{Key, Record, View};
use ident::Scope;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// How many subjects are noted one by one. With more, it is not worth knowing
/// which: all are derived anew if anybody asks.
const MAX_NOTED: usize = 16_384;

/// Something that follows from the records of one scope.
///
/// It is made up of *subjects*, each of which can be worked out by itself from a
/// view. That a subject is always worked out from the records, and never counted
/// up and down, is what keeps it true.
pub trait Derived: Default + fmt::Debug + Send + 'static {
    /// Its name. No two types share one.
    const NAME: &'static str;

    /// Makes what is known of `subject` what `view` says of it.
    fn refresh(&mut self, view: &View, scope: &Scope, subject: &str);
}

/// What is derived from each kind of record.
pub(crate) type Sources = BTreeMap<&'static str, Vec<Source>>;

/// That the subjects of something derived follow from a kind of record.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) derived: &'static str,
    subjects: Arc<Subjects>,
}

/// Says which subjects a record is about.
type Subjects = dyn Fn(&View, &Erased) -> Vec<String> + Send + Sync;

impl Source {
    pub(crate) fn new<R: Record, D: Derived>(subjects: fn(&View, &R) -> Vec<String>) -> Self {
        Self {
            derived: D::NAME,
            subjects: Arc::new(move |view, record| {
                record.downcast_ref().map_or_else(Vec::new, |record| subjects(view, record))
            }),
        }
    }
}

/// All that is derived, from one transaction to the next.
#[derive(Default)]
pub(crate) struct Derivations {
    sources: Arc<Sources>,
    kept: BTreeMap<Scope, BTreeMap<&'static str, Kept>>,
    /// What the transaction in progress writes about: should it come to nothing,
    /// whatever was worked out meanwhile must be worked out again.
    drafts: Vec<Note>,
    /// What it asked about first when it had written already: known from what may
    /// come to nothing.
    drafted: Vec<Scope>,
    /// The scopes to forget when it ends.
    ending: Vec<Arc<Scope>>,
}

struct Kept {
    derived: Box<dyn Any + Send>,
    noted: BTreeSet<String>,
}

struct Note {
    scope: Arc<Scope>,
    derived: &'static str,
    subject: String,
}

impl Derivations {
    /// Nothing yet: all is derived when somebody asks.
    pub(crate) fn new(sources: Arc<Sources>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// What is derived from the records of `scope`, up to date with `view`, which is
    /// a `draft` if a transaction has written to it.
    pub(crate) fn of<D: Derived>(&mut self, view: &View, scope: &Scope, draft: bool) -> &mut D {
        let kept = self.kept.entry(scope.clone()).or_default().entry(D::NAME);
        let kept = kept.or_insert_with(|| {
            if draft {
                self.drafted.push(scope.clone());
            }
            let derived = Box::new(anew::<D>(&self.sources, view, scope));
            Kept { derived, noted: BTreeSet::new() }
        });
        let Some(derived) = kept.derived.downcast_mut::<D>() else {
            unreachable!("what is kept under the name of a type is of that type")
        };
        for subject in std::mem::take(&mut kept.noted) {
            derived.refresh(view, scope, &subject);
        }
        derived
    }

    /// The same, as the records alone say it.
    pub(crate) fn anew<D: Derived>(&self, view: &View, scope: &Scope) -> D {
        anew(&self.sources, view, scope)
    }

    /// Has `subject` worked out anew when somebody asks next.
    pub(crate) fn doubt<D: Derived>(&mut self, scope: &Scope, subject: String) {
        let kept = self.kept.get_mut(scope).and_then(|scoped| scoped.get_mut(D::NAME));
        if let Some(kept) = kept {
            kept.noted.insert(subject);
        }
    }

    /// Notes what the record under `key`, which is about to be written over or just was
    /// written, is about, if there is one.
    pub(crate) fn note(&mut self, view: &View, key: &Key) {
        let Some(sources) = self.sources.get(&*key.kind) else { return };
        let Some(kept) = self.kept.get_mut(&*key.scope) else { return };
        let Some(record) = view.record(key) else { return };
        for source in sources {
            let Some(kept) = kept.get_mut(source.derived) else { continue };
            for subject in (source.subjects)(view, record) {
                let (scope, derived) = (Arc::clone(&key.scope), source.derived);
                self.drafts.push(Note { scope, derived, subject: subject.clone() });
                kept.noted.insert(subject);
            }
        }
    }

    /// Forgets a scope when the transaction ends, whatever comes of it.
    pub(crate) fn forget(&mut self, scope: &Arc<Scope>) {
        self.ending.push(Arc::clone(scope));
    }

    /// Ends a transaction, of which the state goes on with what it wrote if it
    /// `stands`.
    pub(crate) fn settle(&mut self, stands: bool) {
        for scope in std::mem::take(&mut self.ending) {
            self.kept.remove(&*scope);
        }
        for scope in std::mem::take(&mut self.drafted) {
            if !stands {
                self.kept.remove(&scope);
            }
        }
        for Note { scope, derived, subject } in std::mem::take(&mut self.drafts) {
            let Some(scoped) = self.kept.get_mut(&*scope) else { continue };
            let Some(kept) = scoped.get_mut(derived) else { continue };
            if !stands {
                kept.noted.insert(subject);
            }
            if kept.noted.len() > MAX_NOTED {
                scoped.remove(derived);
            }
        }
    }
}

fn anew<D: Derived>(sources: &Sources, view: &View, scope: &Scope) -> D {
    let mut subjects = BTreeSet::new();
    for (kind, sources) in sources {
        for source in sources.iter().filter(|source| source.derived == D::NAME) {
            let records = view.records(kind, scope);
            subjects.extend(records.flat_map(|record| (source.subjects)(view, record)));
        }
    }
    let mut derived = D::default();
    for subject in subjects {
        derived.refresh(view, scope, &subject);
    }
    derived
}

impl fmt::Debug for Derivations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.kept.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Lamp;
    use crate::view::Entry;
    use crate::{Registry, Revision};

    #[derive(Debug, Default)]
    struct Rooms;

    impl Derived for Rooms {
        const NAME: &'static str = "test.rooms";

        fn refresh(&mut self, _: &View, _: &Scope, _: &str) {}
    }

    /// Accounts come and go for years.
    #[test]
    fn nothing_is_kept_of_a_scope_that_was_erased() {
        let registry = Registry::new().record::<Lamp>();
        let registry = registry.derive::<Lamp, Rooms>(|_, lamp| vec![lamp.room.clone()]);
        let mut derivations = registry.derivations();
        let mut view = View::at(Revision::default());
        let scope = Arc::new(Lamp::home());
        derivations.of::<Rooms>(&view, &scope, false);
        let key = Key { scope: Arc::clone(&scope), kind: Lamp::KIND.into(), id: "l-1".into() };
        let lamp = Entry::new(Arc::new(Lamp::new("l-1", "r-1")), Revision::default());
        view.insert(Lamp::KIND, &key, lamp);
        derivations.note(&view, &key);
        assert_eq!((derivations.kept.len(), derivations.drafts.len()), (1, 1));
        derivations.forget(&scope);
        derivations.settle(true);
        assert_eq!((derivations.kept.len(), derivations.drafts.len()), (0, 0));
    }
}
