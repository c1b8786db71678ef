//! When images were last used, and which of them we have pulled: what is known
//! of an image beyond its bytes. It is kept on disk, because an agent that
//! restarts must neither take every image for unused, nor for new.

use crate::clock;
use crate::error::{Error, chain};
use crate::rim::write_durably;
use ident::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};
use tokio::sync::{Notify, watch};

const VERSION: u32 = 1;
/// Between two times that uses are saved: tasks that start are not to wait for it.
const BETWEEN: Duration = Duration::from_secs(10);

/// What is known of the images by their full names.
#[derive(Debug)]
pub(super) struct Usage {
    path: PathBuf,
    state: Mutex<State>,
    /// There is something to save.
    changed: Notify,
    /// Held by whoever saves, so that the older never replaces the newer.
    saving: tokio::sync::Mutex<()>,
    /// Counts the images that were removed.
    removed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    images: BTreeMap<String, Known>,
    /// Since when images are watched that we have never seen in use.
    since: Timestamp,
    /// What is being removed just now.
    going: BTreeSet<String>,
}

/// What is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    used_at: Timestamp,
    /// Whether an agent here has pulled it.
    #[serde(default)]
    pulled: bool,
}

/// As it is on disk. Older versions are read by whoever adds a newer one.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    images: BTreeMap<String, Known>,
}

impl State {
    fn note(&mut self, name: &str, now: Timestamp) {
        let fresh = Known { used_at: now, pulled: false };
        self.images.entry(name.to_owned()).or_insert(fresh).used_at = now;
    }

    /// What is not known counts as used when this agent began.
    fn used_at(&self, name: &str) -> Timestamp {
        self.images.get(name).map_or(self.since, |known| known.used_at)
    }
}

impl Usage {
    /// Reads what is on disk. What cannot be read counts as used now.
    pub(super) fn open(path: &Path) -> Self {
        let images = read(path).unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "images count as used just now");
            BTreeMap::new()
        });
        let state = State { images, since: clock::now(), going: BTreeSet::new() };
        let (removed, _) = watch::channel(0);
        Self {
            path: path.to_owned(),
            state: Mutex::new(state),
            changed: Notify::new(),
            saving: tokio::sync::Mutex::default(),
            removed,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody uses an image from now on. Waits for its removal, if it has begun.
    pub(super) async fn touch(&self, name: &str) {
        let mut removed = self.removed.subscribe();
        loop {
            removed.borrow_and_update();
            {
                let mut state = self.state();
                if !state.going.contains(name) {
                    state.note(name, clock::now());
                    break;
                }
            }
            // We hold the other end ourselves.
            _ = removed.changed().await;
        }
        self.changed.notify_one();
    }

    /// Somebody uses an image still.
    pub(super) fn used(&self, name: &str, now: Timestamp) {
        self.state().note(name, now);
        self.changed.notify_one();
    }

    /// An image was pulled. That is on disk on return.
    pub(super) async fn pulled(&self, name: &str) {
        let known = Known { used_at: clock::now(), pulled: true };
        self.state().images.insert(name.to_owned(), known);
        self.save().await;
    }

    /// Whether an agent here has pulled it.
    pub(super) fn was_pulled(&self, name: &str) -> bool {
        self.state().images.get(name).is_some_and(|known| known.pulled)
    }

    /// When an image was last used, as far as we know.
    pub(super) fn used_at(&self, name: &str) -> Timestamp {
        self.state().used_at(name)
    }

    /// Begins the removal of an image, unless it was used since `used_at`.
    pub(super) fn begin_removal(&self, name: &str, used_at: Timestamp) -> Option<Removal<'_>> {
        let mut state = self.state();
        if state.used_at(name) != used_at || !state.going.insert(name.to_owned()) {
            return None;
        }
        Some(Removal { usage: self, name: name.to_owned(), done: false })
    }

    /// Keeps what is on disk up to date, for ever. A crash loses at most the uses of the
    /// last [`BETWEEN`].
    pub(super) async fn keep(&self) -> std::convert::Infallible {
        loop {
            self.changed.notified().await;
            self.save().await;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Writes to disk what has changed.
    async fn save(&self) {
        let _alone = self.saving.lock().await;
        let images = self.state().images.clone();
        let (path, document) = (self.path.clone(), Document { version: VERSION, images });
        let write = move || {
            let bytes = serde_json::to_vec(&document)
                .map_err(|source| Error::State { path: path.clone(), source })?;
            write_durably(&path, &bytes)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "use of images not saved"),
            Err(error) => tracing::warn!(%error, "use of images not saved"),
        }
    }
}

/// The removal of an image, during which nobody begins to use it.
pub(super) struct Removal<'a> {
    usage: &'a Usage,
    name: String,
    done: bool,
}

impl Removal<'_> {
    /// It is gone.
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        let mut state = self.usage.state();
        state.going.remove(&self.name);
        if self.done {
            state.images.remove(&self.name);
        }
        drop(state);
        self.usage.removed.send_modify(|count| *count += 1);
        self.usage.changed.notify_one();
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Known>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|source| Error::State { path: path.to_owned(), source })?;
    Ok(document.images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn what_is_known_outlives_the_agent() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("images.json");
        let usage = Usage::open(&path);
        usage.touch("a").await;
        usage.pulled("b").await;
        let (a, b) = (usage.used_at("a"), usage.used_at("b"));
        usage.save().await;
        let usage = Usage::open(&path);
        assert_eq!((usage.used_at("a"), usage.used_at("b")), (a, b));
        assert!(!usage.was_pulled("a") && usage.was_pulled("b"));
        fs::write(&path, "{").expect("written");
        let usage = Usage::open(&path);
        assert!(usage.used_at("a") >= a, "what is unknown counts as used now");
    }

    #[tokio::test]
    async fn an_image_is_used_or_removed_but_not_both() {
        let dir = tempfile::tempdir().expect("a directory");
        let usage = Usage::open(&dir.path().join("images.json"));
        usage.touch("a").await;
        let stale = Timestamp(usage.used_at("a").0 - 1);
        assert!(usage.begin_removal("a", stale).is_none(), "it was used since");
        let removal = usage.begin_removal("a", usage.used_at("a")).expect("unused");
        assert!(usage.begin_removal("a", usage.used_at("a")).is_none(), "it is going");
        let mut touched = Box::pin(usage.touch("a"));
        assert!(touched.as_mut().now_or_never().is_none(), "whoever wants it waits");
        removal.done();
        touched.await;
        usage.pulled("b").await;
        usage.begin_removal("b", usage.used_at("b")).expect("unused").done();
        assert!(!usage.was_pulled("b"), "what was removed is to be pulled again");
        usage.pulled("c").await;
        drop(usage.begin_removal("c", usage.used_at("c")).expect("unused"));
        assert!(usage.was_pulled("c"), "a removal that failed changes nothing");
    }
}
