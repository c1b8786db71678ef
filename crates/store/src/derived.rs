//! What follows from records, and is kept beside them.
//!
//! Some questions take too long to answer from the records each time: where a
//! task has room, for one. Their answer is *derived*: each view holds it, next to
//! what it follows from, and every write brings it up to date. It is never
//! durable. A store derives it anew when it opens, so it cannot disagree with the
//! records after a crash, an upgrade or a restore.

use crate::view::Erased;
use crate::{Record, View};
use ident::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Something that follows from the records of one scope.
///
/// It is made up of *subjects*, each of which can be worked out by itself from a
/// view. That a subject is always worked out from the records, and never counted
/// up and down, is what keeps it true.
///
/// A clone should cost next to nothing: there is one with each view.
pub trait Derived: Clone + Default + fmt::Debug + Send + Sync + 'static {
    /// Its name. No two types share one.
    const NAME: &'static str;

    /// Makes what is known of `subject` what `view` says of it.
    fn refresh(&mut self, view: &View, scope: &Scope, subject: &str);

    /// Whether nothing is known of any subject, so that this can be forgotten.
    fn is_empty(&self) -> bool;
}

/// What is derived from each kind of record.
pub(crate) type Sources = BTreeMap<&'static str, Vec<Source>>;

/// That the subjects of something derived follow from a kind of record.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) derived: &'static str,
    refresh: Refresh,
    subjects: Arc<Subjects>,
}

/// Says which subjects a record is about.
type Subjects = dyn Fn(&View, &Erased) -> Vec<String> + Send + Sync;

/// Brings subjects up to date, and says nothing if there is nothing left.
type Refresh = fn(Option<Arc<Erased>>, &View, &Scope, &BTreeSet<String>) -> Option<Arc<Erased>>;

impl Source {
    pub(crate) fn new<R: Record, D: Derived>(subjects: fn(&View, &R) -> Vec<String>) -> Self {
        Self {
            derived: D::NAME,
            refresh: |before, view, scope, subjects| {
                let before = before.and_then(|before| before.downcast::<D>().ok());
                // Nobody else has it if this transaction changed it already.
                let mut derived = before.map(Arc::unwrap_or_clone).unwrap_or_default();
                for subject in subjects {
                    derived.refresh(view, scope, subject);
                }
                (!derived.is_empty()).then(|| Arc::new(derived) as Arc<Erased>)
            },
            subjects: Arc::new(move |view, record| {
                record.downcast_ref().map_or_else(Vec::new, |record| subjects(view, record))
            }),
        }
    }

    pub(crate) fn subjects(&self, view: &View, record: &Erased) -> Vec<String> {
        (self.subjects)(view, record)
    }

    pub(crate) fn refresh(
        &self,
        before: Option<Arc<Erased>>,
        view: &View,
        scope: &Scope,
        subjects: &BTreeSet<String>,
    ) -> Option<Arc<Erased>> {
        (self.refresh)(before, view, scope, subjects)
    }
}
