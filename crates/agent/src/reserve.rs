//! Room on the disk for when there is none.
//!
//! Whoever fills a disk is stopped, and what they wrote removed, by writing to it: we
//! note what we are about to do before we do it, and containerd what it is about to
//! remove. So a little is set aside while there is plenty, and given up when a write
//! finds no room.

use crate::error::unless_missing;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is set aside, in bytes.
const SIZE: i64 = 4 << 20;
/// What must be free for it, in bytes.
const PLENTY: u64 = 16 << 20;
/// Between looks whether there is plenty again.
const LOOK: Duration = Duration::from_secs(10);

/// A file that holds room for what must not fail. Clones are of one and the same.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The one that this file is.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sets it aside, and again when it was given up; for ever.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            let path = self.path.clone();
            let kept = tokio::task::spawn_blocking(move || set_aside(&path)).await;
            if let Ok(Err(error)) = kept {
                tracing::debug!(%error, "no room is set aside");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives it up. `false` if there was none.
    pub(crate) fn give_up(&self) -> bool {
        let given = fs::remove_file(&self.path).is_ok();
        if given {
            tracing::warn!("the disk is full; giving up what was set aside");
        }
        given
    }
}

fn set_aside(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| i64::try_from(found.len()) == Ok(SIZE)) {
        return Ok(());
    }
    let disk = statvfs(path.parent().unwrap_or(path))?;
    if disk.blocks_available().saturating_mul(disk.fragment_size()) < PLENTY {
        return Ok(());
    }
    let made = File::create(path).and_then(|file| {
        // Blocks of its own, not a promise of some.
        fallocate(&file, FallocateFlags::empty(), 0, SIZE).map_err(io::Error::from)
    });
    if made.is_err() {
        unless_missing(fs::remove_file(path))?;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_is_there_until_it_is_given_up() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("reserve");
        let reserve = Reserve::new(path.clone());
        assert!(!reserve.give_up(), "there is none");
        for _ in 0..2 {
            set_aside(&path).expect("set aside");
            let found = fs::metadata(&path).expect("a file");
            assert_eq!(i64::try_from(found.len()), Ok(SIZE));
            assert!(found.blocks() * 512 >= found.len(), "not a hole");
        }
        assert!(reserve.give_up());
        assert!(!path.exists());
    }
}
