//! How far the images are that are being pulled, for whoever looks at the machine.

use crate::clock;
use crate::error::unless_missing;
use crate::rim::write_whole;
use ident::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};
use tokio::sync::Notify;

/// Between two versions of the file that says so.
const BETWEEN: Duration = Duration::from_millis(250);

/// An image that is being pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    /// Its full name.
    pub image: String,
    /// Since when.
    pub started_at: Timestamp,
    /// How many bytes of it are here, compressed as they come.
    pub bytes_done: u64,
    /// How many there will be; zero until the registry has said so.
    pub bytes_total: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    all: Mutex<BTreeMap<u64, State>>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    image: String,
    started_at: Timestamp,
    /// By digest: how much is here, and how much there will be.
    blobs: BTreeMap<String, (u64, u64)>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Ongoing {
    transfers: Arc<Transfers>,
    number: u64,
}

impl Transfers {
    /// Begins to tell of one.
    pub(super) fn begin(self: &Arc<Self>, image: &str) -> Ongoing {
        let state =
            State { image: image.to_owned(), started_at: clock::now(), blobs: BTreeMap::new() };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, state);
        self.changed.notify_one();
        Ongoing { transfers: self.clone(), number }
    }

    /// How far they are.
    pub(super) fn list(&self) -> Vec<Transfer> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |state: &State| Transfer {
            image: state.image.clone(),
            started_at: state.started_at,
            bytes_done: state.blobs.values().map(|(done, _)| done).sum(),
            bytes_total: state.blobs.values().map(|(_, total)| total).sum(),
        };
        all.values().map(told).collect()
    }

    /// Keeps in a file how far they are, for ever. There is none when there are none.
    pub(super) async fn tell(&self, path: &Path) -> Infallible {
        loop {
            if let Err(error) = write(path, &self.list()) {
                tracing::debug!(%error, "progress not written");
            }
            self.changed.notified().await;
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// What [`Transfers::tell`] has written there.
pub fn told(path: &Path) -> io::Result<Vec<Transfer>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Small, and in memory: it is written in place of other work, but whole.
fn write(path: &Path, transfers: &[Transfer]) -> io::Result<()> {
    if transfers.is_empty() {
        return unless_missing(fs::remove_file(path));
    }
    write_whole(path, &serde_json::to_vec(transfers)?)
}

impl Ongoing {
    /// A blob of so many bytes belongs to it.
    pub(super) fn expects(&self, digest: &str, size: u64) {
        self.change(|blobs| _ = blobs.entry(digest.to_owned()).or_insert((0, size)));
    }

    /// A blob is here up to this byte.
    pub(super) fn reached(&self, digest: &str, done: u64) {
        self.change(|blobs| {
            if let Some((known, _)) = blobs.get_mut(digest) {
                *known = done;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, (u64, u64)>)) {
        let mut all = self.transfers.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = all.get_mut(&self.number) {
            change(&mut state.blobs);
        }
        self.transfers.changed.notify_one();
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let mut all = self.transfers.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.number);
        self.transfers.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_told_of_while_it_lasts() {
        let transfers = Arc::new(Transfers::default());
        let (a, b) = (transfers.begin("a"), transfers.begin("b"));
        a.expects("x", 10);
        a.expects("y", 5);
        a.reached("x", 4);
        a.expects("x", 10);
        a.reached("unknown", 99);
        let seen = |transfers: &Transfers| {
            let list = transfers.list().into_iter();
            list.map(|t| (t.image, t.bytes_done, t.bytes_total)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&transfers), [("a".to_owned(), 4, 15), ("b".to_owned(), 0, 0)]);
        drop(a);
        let c = transfers.begin("c");
        assert_eq!(seen(&transfers).len(), 2);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pulls.json");
        assert_eq!(told(&path).expect("read"), []);
        write(&path, &transfers.list()).expect("written");
        assert_eq!(told(&path).expect("read"), transfers.list());
        drop((b, c));
        write(&path, &transfers.list()).expect("removed");
        assert!(!path.exists());
        assert!(transfers.list().is_empty());
    }
}
