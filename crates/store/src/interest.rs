//! Who waits for news of what.
//!
//! There may be ten thousand who each wait for the few records that concern them:
//! to wake all of them with every commit costs more than the commit.

use crate::sync::lock;
use crate::view::Value;
use crate::{Record, Revision};
use ident::Scope;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What somebody waits for news of: a hash of it, wide enough for two never to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interest(u128);

impl Interest {
    /// The record of this id, whether it is there or not.
    pub fn record<R: Record>(scope: &Scope, id: &str) -> Self {
        Self::of_record(R::KIND, scope, id)
    }

    /// The records that have `value` in `index`, or had it until they changed.
    pub fn indexed<R: Record>(scope: &Scope, index: &'static str, value: &str) -> Self {
        Self::of_value(R::KIND, scope, Value::of(index, value))
    }

    pub(crate) fn of_record(kind: &str, scope: &Scope, id: &str) -> Self {
        Self::hash((kind, scope, id))
    }

    pub(crate) fn of_value(kind: &str, scope: &Scope, value: Value) -> Self {
        Self::hash((kind, scope, value))
    }

    fn hash(what: impl Hash) -> Self {
        let mut hasher = SipHasher13::new();
        what.hash(&mut hasher);
        Self(hasher.finish128().as_u128())
    }
}

/// Tells a subscriber which revision touched what he waits for.
type Bell = Arc<watch::Sender<Revision>>;

/// Those who wait, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<HashMap<Interest, Vec<Bell>>>);

impl Subscribers {
    /// One more, until the subscription is dropped. `newest` is no news to him.
    pub(crate) fn join(
        self: &Arc<Self>,
        interests: &[Interest],
        newest: Revision,
    ) -> (watch::Receiver<Revision>, Subscription) {
        let bell = Arc::new(watch::Sender::new(newest));
        let news = bell.subscribe();
        let mut waiting = lock(&self.0);
        for interest in interests {
            waiting.entry(*interest).or_default().push(Arc::clone(&bell));
        }
        drop(waiting);
        let subscribers = Arc::clone(self);
        (news, Subscription { subscribers, interests: interests.to_vec(), bell })
    }

    /// Tells those who wait for any of these.
    pub(crate) fn tell(&self, touched: &[Interest], revision: Revision) {
        let waiting = lock(&self.0);
        for bell in touched.iter().filter_map(|interest| waiting.get(interest)).flatten() {
            bell.send_replace(revision);
        }
    }

    /// Tells everybody.
    pub(crate) fn tell_all(&self, revision: Revision) {
        for bell in lock(&self.0).values().flatten() {
            bell.send_replace(revision);
        }
    }
}

/// That somebody waits. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Subscription {
    subscribers: Arc<Subscribers>,
    interests: Vec<Interest>,
    bell: Bell,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiting = lock(&self.subscribers.0);
        for interest in &self.interests {
            let Some(bells) = waiting.get_mut(interest) else { continue };
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                waiting.remove(interest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Lamp;

    /// Agents come and go for years.
    #[test]
    fn nothing_is_kept_of_who_left() {
        let subscribers = Arc::new(Subscribers::default());
        let interests = ["l-1", "l-2"].map(|id| Interest::record::<Lamp>(&Lamp::home(), id));
        let (stays, _subscription) = subscribers.join(&interests[..1], Revision(1));
        let (mut leaves, subscription) = subscribers.join(&interests, Revision(1));
        subscribers.tell(&interests, Revision(2));
        assert_eq!((*stays.borrow(), *leaves.borrow_and_update()), (Revision(2), Revision(2)));
        drop(subscription);
        subscribers.tell_all(Revision(3));
        assert_eq!(*stays.borrow(), Revision(3));
        let waiting = lock(&subscribers.0);
        assert_eq!(waiting.values().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(waiting.len(), 1);
    }
}
