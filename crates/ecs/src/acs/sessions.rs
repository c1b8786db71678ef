//! Which agents have a session: in this process, and in the state.
//!
//! Each instance has one. A newer session takes the seat of an older one, which
//! notices and leaves.

use crate::Error;
use crate::records::{AgentSession, ContainerInstance, InstanceStatus, VersionInfo};
use chassis::Platform;
use ident::{ContainerInstanceId, Scope, Timestamp};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{StoreError, Txn};
use tokio::sync::watch;

type Place = (Scope, ContainerInstanceId);

/// The sessions that this process holds.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<Place, Occupant>>>);

/// Who has the seat. Dropping it tells the one who had it before.
#[derive(Debug)]
struct Occupant {
    session: String,
    _occupied: watch::Sender<()>,
}

/// A seat at an instance's side. It is given up by dropping it.
#[derive(Debug)]
pub struct Seat {
    sessions: Sessions,
    place: Place,
    session: String,
    occupied: watch::Receiver<()>,
}

impl Sessions {
    /// Takes the seat at an instance, from whoever had it.
    pub fn open(&self, scope: &Scope, instance: &ContainerInstanceId, session: &str) -> Seat {
        let place = (scope.clone(), instance.clone());
        let (occupied, watch) = watch::channel(());
        let occupant = Occupant { session: session.to_owned(), _occupied: occupied };
        self.lock().insert(place.clone(), occupant);
        Seat { sessions: self.clone(), place, session: session.to_owned(), occupied: watch }
    }

    /// Whether this very session has the seat.
    pub fn is_live(&self, scope: &Scope, instance: &ContainerInstanceId, session: &str) -> bool {
        let place = (scope.clone(), instance.clone());
        self.lock().get(&place).is_some_and(|occupant| occupant.session == session)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Occupant>> {
        // Every change is one insertion or removal, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether it is still this session's.
    pub fn is_held(&self) -> bool {
        let (scope, instance) = &self.place;
        self.sessions.is_live(scope, instance, &self.session)
    }

    /// Waits until somebody else takes the seat. Safe to drop half-way.
    pub async fn taken(&mut self) {
        // Nothing is ever sent: the only news is that the sender is gone.
        while self.occupied.changed().await.is_ok() {}
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.sessions.lock().entry(self.place.clone())
            && entry.get().session == self.session
        {
            entry.remove();
        }
    }
}

/// Notes that the agent of the instance whose seat this is is there, and what it
/// says that it is. An instance that is not there any more has no agent.
///
/// None if a newer session has the seat by now: then what this one would note
/// might come after what the newer one noted.
pub async fn connect(
    platform: &Platform,
    seat: &Seat,
    version: &VersionInfo,
) -> Result<Option<ContainerInstance>, Error> {
    let now = platform.now();
    let (scope, instance) = &seat.place;
    platform
        .store
        .transact(|txn| {
            // Asked in here: transactions run one after another, and a newer
            // session took the seat before it came to its own.
            if !seat.is_held() {
                return Ok(None);
            }
            let found = txn
                .get::<ContainerInstance>(scope, instance.as_str())
                .filter(|found| found.status != InstanceStatus::Inactive)
                .ok_or_else(|| Error::Inactive(instance.to_string()))?;
            let mut there = ContainerInstance::clone(&found);
            there.session = Some(AgentSession { id: seat.session.clone() });
            if !found.connected() {
                there.session_changed_at = now;
            }
            let known = &mut there.version_info;
            for (known, said) in [
                (&mut known.agent_version, &version.agent_version),
                (&mut known.agent_hash, &version.agent_hash),
                (&mut known.docker_version, &version.docker_version),
            ] {
                if said.is_some() {
                    known.clone_from(said);
                }
            }
            there.version = there.version.saturating_add(1);
            txn.put(there.clone());
            Ok(Some(there))
        })
        .await
}

/// Notes that a session is over, unless another has taken its place.
pub async fn disconnect(
    platform: &Platform,
    scope: &Scope,
    instance: &ContainerInstanceId,
    session: &str,
) -> Result<(), StoreError> {
    let now = platform.now();
    platform
        .store
        .transact(|txn| {
            disconnect_in(txn, scope, instance, session, now);
            Ok(())
        })
        .await
}

/// [`disconnect`] inside a transaction.
pub fn disconnect_in(
    txn: &mut Txn,
    scope: &Scope,
    instance: &ContainerInstanceId,
    session: &str,
    now: Timestamp,
) {
    let found = txn.get::<ContainerInstance>(scope, instance.as_str());
    if let Some(found) = found
        && found.session.as_ref().is_some_and(|current| current.id == session)
    {
        txn.put(ContainerInstance {
            session: None,
            session_changed_at: now,
            version: found.version.saturating_add(1),
            ..ContainerInstance::clone(&found)
        });
    }
}
