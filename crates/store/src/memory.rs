//! The backend of tests and of the simulator.

use crate::sync::lock;
use crate::{Backend, Commit, Key, Loaded, Revision, StoreError, StoredRecord};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Keeps records in memory, encoded as on any disk.
///
/// A clone is another handle on the same contents, which is what a simulated
/// restart needs: drop the store, open another on a clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    revision: Revision,
    records: BTreeMap<Key, StoredRecord>,
}

impl MemoryBackend {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Contents {
    fn apply(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let current = |key| self.records.get(key).map(|stored| stored.revision);
        let sound = commit.revision == self.revision.next()
            && commit.guards.iter().all(|guard| current(&guard.key) == guard.revision);
        if !sound {
            return Err(StoreError::Conflict);
        }
        self.revision = commit.revision;
        for write in &commit.writes {
            let key = write.key.clone();
            match &write.value {
                Some(value) => {
                    let stored = StoredRecord {
                        key: key.clone(),
                        version: value.version,
                        revision: commit.revision,
                        bytes: value.bytes.clone(),
                    };
                    self.records.insert(key, stored);
                }
                None => {
                    self.records.remove(&key);
                }
            }
        }
        Ok(())
    }
}

impl Backend for MemoryBackend {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let contents = lock(&self.contents);
        Ok(Loaded {
            revision: contents.revision,
            records: contents.records.values().cloned().collect(),
        })
    }

    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError> {
        let mut contents = lock(&self.contents);
        // One commit, which is what a simulator makes, needs no copy: it is
        // checked as a whole before anything changes.
        if let [commit] = batch {
            return contents.apply(commit);
        }
        let mut after = contents.clone();
        for commit in batch {
            after.apply(commit)?;
        }
        *contents = after;
        Ok(())
    }
}
