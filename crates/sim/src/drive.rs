//! The disk under a control plane: the moment at which its power fails, and the
//! others who write to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Backend, Commit, Encoded, Loaded, MemoryBackend, StoreError, Write};

/// When a control plane loses its power, counted in the commits that it will make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The commit of this number is lost with everything after it.
    Before(u64),
    /// The commit of this number is durable, and nobody hears of it.
    After(u64),
}

/// One life of a control plane, as its disk sees it. What was written survives
/// in the [`MemoryBackend`]; the drive goes with the life.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    contents: MemoryBackend,
    power: Arc<Mutex<Power>>,
}

#[derive(Debug, Default)]
struct Power {
    commits: u64,
    outage: Option<Outage>,
    out: bool,
    /// Once in how many commits somebody else is quicker; 0 for never.
    overtaken: u64,
    attempts: u64,
}

impl Drive {
    /// A life that will end as `outage` says, if it says anything.
    pub(crate) fn new(contents: &MemoryBackend, outage: Option<Outage>) -> Self {
        let power = Power { outage, ..Power::default() };
        Self { contents: contents.clone(), power: Arc::new(Mutex::new(power)) }
    }

    /// Whether the power has failed. Whoever used the control plane now knows.
    pub(crate) fn is_dead(&self) -> bool {
        self.power().out
    }

    /// Ends this life as `outage` says, counted from now.
    pub(crate) fn doom(&self, outage: Outage) {
        let mut power = self.power();
        let made = power.commits;
        power.outage.get_or_insert(match outage {
            Outage::Before(number) => Outage::Before(made + number),
            Outage::After(number) => Outage::After(made + number),
        });
    }

    /// Lets another writer be quicker once in so many commits; 0 for never.
    pub(crate) fn overtake(&self, odds: u64) {
        self.power().overtaken = odds;
    }

    /// How many commits were made in this life.
    pub(crate) fn commits(&self) -> u64 {
        self.power().commits
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another control plane that shares the disk writes first: a record that the batch
/// has read, as it was. Whether or not there is one, the batch comes too late.
fn rival(contents: &mut MemoryBackend, batch: &[Commit]) -> Result<(), StoreError> {
    let loaded = contents.load()?;
    let read = batch.iter().flat_map(|commit| &commit.guards);
    let known = |key: &store::Key| loaded.records.iter().find(|stored| stored.key == *key);
    let found = read.map(|guard| &guard.key).find_map(known).or(loaded.records.first());
    let writes = found.map(|stored| Write {
        key: stored.key.clone(),
        value: Some(Encoded { version: stored.version, bytes: stored.bytes.clone() }),
    });
    contents.commit(&[Commit {
        revision: loaded.revision.next(),
        guards: vec![],
        writes: writes.into_iter().collect(),
    }])
}

/// No pattern that a retry could fall in step with.
fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

fn dead() -> StoreError {
    StoreError::backend("writing", "the power has failed")
}

impl Backend for Drive {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.contents.load()
    }

    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError> {
        let mut power = self.power();
        if power.out {
            return Err(dead());
        }
        let number = power.commits + 1;
        if power.outage == Some(Outage::Before(number)) {
            power.out = true;
            return Err(dead());
        }
        let mut contents = self.contents.clone();
        power.attempts += 1;
        if power.overtaken > 0 && scatter(power.attempts).is_multiple_of(power.overtaken) {
            rival(&mut contents, batch)?;
        }
        contents.commit(batch)?;
        power.commits = number;
        if power.outage == Some(Outage::After(number)) {
            power.out = true;
            return Err(dead());
        }
        Ok(())
    }
}
