//! How much each interface may ask, so that none of them takes the resolver from the
//! others.

use super::zone::Zone;
use ident::EniId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many packets an interface may send to the resolver in a second, as on EC2;
/// what is more is dropped.
pub(crate) const PACKETS_A_SECOND: u32 = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// How many questions may wait for an answer from elsewhere at the same time.
const WAITING: usize = 512;
const WAITING_EACH: usize = 128;
/// How many connections may be open at the same time.
const CONNECTIONS: usize = 128;
const CONNECTIONS_EACH: usize = 16;

/// What an interface can have several of, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Waiting,
    Connection,
}

/// The accounts of all interfaces of a VPC. Clones are the same accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    clients: BTreeMap<EniId, Account>,
    all: Held,
}

#[derive(Debug, Default)]
struct Account {
    /// The packets of the second that began then.
    second: Option<(Instant, u32)>,
    held: Held,
}

#[derive(Debug, Default)]
struct Held {
    waiting: usize,
    connections: usize,
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Waiting => &mut self.waiting,
            Kind::Connection => &mut self.connections,
        }
    }
}

/// A place that an interface has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Limits,
    eni: EniId,
    kind: Kind,
}

impl Limits {
    /// Whether a packet that an interface sent now is to be looked at.
    pub(crate) fn admits(&self, eni: &EniId, now: Instant) -> bool {
        let mut books = self.books();
        let account = books.clients.entry(eni.clone()).or_default();
        let (began, packets) = match account.second {
            Some((began, packets)) if now.saturating_duration_since(began) < SECOND => {
                (began, packets)
            }
            Some(_) | None => (now, 0),
        };
        let admitted = packets < PACKETS_A_SECOND;
        account.second = Some((began, packets + u32::from(admitted)));
        admitted
    }

    /// A place for an interface, if there is one left.
    pub(crate) fn take(&self, eni: &EniId, kind: Kind) -> Option<Place> {
        let (most, most_each) = match kind {
            Kind::Waiting => (WAITING, WAITING_EACH),
            Kind::Connection => (CONNECTIONS, CONNECTIONS_EACH),
        };
        let mut books = self.books();
        let Books { clients, all } = &mut *books;
        let own = clients.entry(eni.clone()).or_default().held.of(kind);
        let all = all.of(kind);
        if *own >= most_each || *all >= most {
            return None;
        }
        (*own, *all) = (*own + 1, *all + 1);
        Some(Place { limits: self.clone(), eni: eni.clone(), kind })
    }

    /// Closes the accounts of interfaces that are gone, once they owe nothing.
    pub(crate) fn forget_all_but(&self, zone: &Zone) {
        let owes = |account: &Account| account.held.waiting + account.held.connections > 0;
        self.books().clients.retain(|eni, account| owes(account) || zone.has(eni));
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut books = self.limits.books();
        let Books { clients, all } = &mut *books;
        let own = clients.get_mut(&self.eni).map(|account| account.held.of(self.kind));
        for count in own.into_iter().chain([all.of(self.kind)]) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eni(n: u128) -> EniId {
        EniId::mint(n)
    }

    #[test]
    fn a_second_has_so_many_packets_for_each_interface() {
        let (limits, start) = (Limits::default(), Instant::now());
        let admitted = |n, after: u64, of: u32| {
            let now = start + Duration::from_millis(after);
            (0..of).filter(|_| limits.admits(&eni(n), now)).count()
        };
        assert_eq!(admitted(1, 0, 1000), 1000);
        assert_eq!(admitted(1, 999, 1000), 24);
        assert_eq!(admitted(2, 999, 1), 1, "another one's packets are no matter");
        assert_eq!(admitted(1, 1000, 2000), 1024);
        assert_eq!(admitted(1, 1999, 1), 0);
        assert_eq!(admitted(1, 2000, 1), 1, "refused ones do not count");
    }

    #[test]
    fn places_are_given_back_and_one_interface_does_not_get_all() {
        let limits = Limits::default();
        for (kind, each, all) in [(Kind::Waiting, 128, 512), (Kind::Connection, 16, 128)] {
            let take = |n| limits.take(&eni(n), kind);
            let mut places: Vec<Place> = (0..each).filter_map(|_| take(1)).collect();
            assert_eq!(places.len(), each);
            assert!(take(1).is_none(), "{kind:?}");
            places.pop();
            places.extend(take(1));
            assert!(take(1).is_none(), "{kind:?}");
            places.extend((0..).map_while(|n| take(2 + n / each as u128)));
            assert_eq!(places.len(), all, "{kind:?}");
            places.clear();
            assert!(take(1).is_some(), "{kind:?}");
        }
    }
}
