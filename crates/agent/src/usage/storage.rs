//! What tasks have written to the machine's disk: into the writable layers of their
//! containers, and into the volumes that are their own.
//!
//! It takes a look at every file, so that it is neither measured with all else nor as
//! often: by one task after another, each at the earliest a pause after the last time,
//! and after nine times as long as that took. Who asks hears what was found last.

use super::Whose;
use super::exposition::Exposition;
use crate::engine::{Known, Task, TaskArn};
use crate::error::chain;
use crate::rim::{Rim, StateDir};
use crate::runtime::Containers;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Between looks at which tasks there are.
const LOOK: Duration = Duration::from_secs(5);
/// For one task. What takes longer is not told.
const LIMIT: Duration = Duration::from_mins(2);
/// How many times as long as a measurement took the next one waits: the share of the
/// disk's time that all this takes is bounded whatever there is on it.
const SHARE: u32 = 9;

/// What was found last, by task.
pub(crate) type AllWritten = BTreeMap<TaskArn, Written>;

/// What a task has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whose it is; no container is named.
    pub(crate) whose: Whose,
    /// Bytes of disk that it takes up.
    pub(crate) bytes: u64,
}

/// Measures.
pub(crate) struct Storage {
    containers: Arc<dyn Containers>,
    state: StateDir,
    pause: Duration,
    written: watch::Sender<Arc<AllWritten>>,
}

impl Storage {
    /// One that has measured nothing yet, and looks at the same task once in a `pause`.
    pub(crate) fn new(containers: Arc<dyn Containers>, state: StateDir, pause: Duration) -> Self {
        Self { containers, state, pause, written: watch::Sender::default() }
    }

    /// Where what is measured can be read.
    pub(crate) fn written(&self) -> watch::Receiver<Arc<AllWritten>> {
        self.written.subscribe()
    }

    /// What a task has written, in bytes, if that is known yet.
    pub(crate) fn of(&self, task: &TaskArn) -> Option<u64> {
        self.written.borrow().get(task).map(|written| written.bytes)
    }

    /// Measures what there is, for as long as it is let, and writes it to `exposition`
    /// too.
    pub(crate) async fn run(&self, rim: &Rim, exposition: &Exposition) -> Infallible {
        let mut ticks = tokio::time::interval(LOOK.min(self.pause));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due: BTreeMap<TaskArn, Instant> = BTreeMap::new();
        loop {
            ticks.tick().await;
            let tasks = rim.state().await.tasks;
            let writes = |arn: &TaskArn| tasks.get(arn).is_some_and(writes);
            due.retain(|arn, _| writes(arn));
            self.change(exposition, |all| all.retain(|arn, _| writes(arn)));
            for task in tasks.values() {
                let (arn, begun) = (&task.spec.arn, Instant::now());
                if !writes(arn) || due.get(arn).is_some_and(|at| *at > begun) {
                    continue;
                }
                match tokio::time::timeout(LIMIT, self.measure(task)).await {
                    Ok(Some(bytes)) => {
                        let whose = Whose { container: String::new(), ..super::whose(task, 0) };
                        let written = Written { whose, bytes };
                        self.change(exposition, |all| drop(all.insert(arn.clone(), written)));
                    }
                    Ok(None) => {}
                    Err(_) => tracing::debug!(task = %arn, "too many files to count"),
                }
                let took = begun.elapsed();
                due.insert(arn.clone(), Instant::now() + self.pause.max(took * SHARE));
            }
        }
    }

    fn change(&self, exposition: &Exposition, change: impl FnOnce(&mut AllWritten)) {
        self.written.send_modify(|all| change(Arc::make_mut(all)));
        exposition.show_written(self.written.borrow().clone());
    }

    /// The bytes that a task takes up. Nothing if that cannot be found out.
    async fn measure(&self, task: &Task) -> Option<u64> {
        let mut bytes = walk(self.state.volumes_dir(&task.spec.arn)).await;
        for container in task.containers.iter().filter(|it| it.known >= Known::Created) {
            match self.containers.written(&container.runtime_id).await {
                Ok(layer) => bytes = bytes.saturating_add(layer),
                Err(error) => {
                    let (container, error) = (&container.runtime_id, chain(&error));
                    tracing::debug!(container, error, "what it has written is not known");
                    return None;
                }
            }
        }
        Some(bytes)
    }
}

/// Whether there is something of a task that it may have written.
fn writes(task: &Task) -> bool {
    task.finished_at.is_none() && task.containers.iter().any(|it| it.known >= Known::Created)
}

/// The bytes below a directory, found where it holds nobody up.
async fn walk(root: PathBuf) -> u64 {
    /// Tells the thread that nobody waits any more.
    struct GiveUp(Arc<AtomicBool>);
    impl Drop for GiveUp {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let given_up = GiveUp(Arc::default());
    let ear = given_up.0.clone();
    let walked = tokio::task::spawn_blocking(move || bytes_below(&root, &ear)).await;
    drop(given_up);
    walked.unwrap_or_default()
}

/// The bytes of disk that a directory and all below it take up, until it is given up.
///
/// Those who write there are no friends: no link is followed, not even one that comes
/// while we look, no other file system entered, and however deep it goes one directory
/// is open at a time. What vanishes meanwhile, or is too deep for a name, is not counted.
fn bytes_below(root: &Path, given_up: &AtomicBool) -> u64 {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Most tasks have no volumes.
    let Ok(top) = open(root, flags | OFlag::O_PATH, Mode::empty()) else { return 0 };
    let how = OpenHow::new().flags(flags | OFlag::O_RDONLY).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let size = |found: &Metadata| found.blocks().saturating_mul(512);
    // Files of several names, each of which counts once.
    let mut seen = HashSet::new();
    let mut bytes = 0_u64;
    let mut left = vec![PathBuf::from(".")];
    while let Some(path) = left.pop() {
        let Ok(opened) = openat2(&top, &path, how) else { continue };
        let dir = File::from(opened);
        // By another name of what is open, whatever its own leads to by now.
        let Ok(entries) = fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())) else {
            continue;
        };
        bytes = bytes.saturating_add(dir.metadata().as_ref().map_or(0, size));
        for entry in entries.flatten() {
            if given_up.load(Ordering::Relaxed) {
                return bytes;
            }
            match entry.metadata() {
                Ok(found) if found.is_dir() => left.push(path.join(entry.file_name())),
                Ok(found) if found.nlink() == 1 || seen.insert((found.dev(), found.ino())) => {
                    bytes = bytes.saturating_add(size(&found));
                }
                _ => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_below_a_directory_counts_once_and_nothing_else() {
        const SIZE: u64 = 1 << 20;
        let dir = tempfile::tempdir().expect("a directory");
        let (root, other) = (dir.path().join("root"), dir.path().join("other"));
        let of_root = || bytes_below(&root, &AtomicBool::new(false));
        assert_eq!(of_root(), 0, "it is not there");
        let file = vec![1; usize::try_from(SIZE).expect("small")];
        for dir in [root.join("a/b"), other.clone()] {
            fs::create_dir_all(&dir).expect("made");
            fs::write(dir.join("file"), &file).expect("written");
        }
        let slack = SIZE / 4; // For the directories.
        let first = of_root();
        assert!((SIZE..SIZE + slack).contains(&first), "{first}");
        fs::hard_link(root.join("a/b/file"), root.join("a/again")).expect("linked");
        symlink(&other, root.join("away")).expect("linked");
        symlink(other.join("file"), root.join("a/away")).expect("linked");
        let linked = of_root();
        assert!((first..SIZE + slack).contains(&linked), "{linked}");
        // Sparse files take up what is written of them.
        File::create(root.join("sparse")).expect("made").set_len(1 << 30).expect("set");
        assert!((first..SIZE + slack).contains(&of_root()), "{}", of_root());
        assert!(bytes_below(&root, &AtomicBool::new(true)) < SIZE, "nobody waits for it");
        symlink(&root, dir.path().join("link")).expect("linked");
        assert_eq!(bytes_below(&dir.path().join("link"), &AtomicBool::new(false)), 0);
        fs::remove_dir_all(root.join("a")).expect("removed");
        assert!(of_root() < slack);
    }
}
