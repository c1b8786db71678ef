//! No container fills the disk by talking.

use super::times::{self, Mark};
use super::{Output, below};
use crate::clock;
use crate::error::chain;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often outputs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often, while one of them grows fast.
const SOON: Duration = Duration::from_millis(50);
/// What file systems make holes of; a part of one cannot be given back.
const BLOCK: u64 = 4096;

/// Keeps every output below `tasks` at no more than `most` bytes of disk, but for
/// what is written between two looks, and notes when it was how long.
pub(crate) async fn keep(tasks: PathBuf, most: u64) -> Infallible {
    let mut lengths = BTreeMap::new();
    loop {
        let tasks = tasks.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let fast = look(&tasks, most, &mut lengths);
            (lengths, fast)
        });
        let fast;
        (lengths, fast) = looked.await.unwrap_or_default();
        tokio::time::sleep(if fast { SOON } else { LOOK }).await;
    }
}

/// Looks at every output once. Whether one has grown by much since the last time,
/// which is in `lengths`.
fn look(tasks: &Path, most: u64, lengths: &mut BTreeMap<PathBuf, u64>) -> bool {
    let outputs = match below(tasks) {
        Ok(outputs) => outputs,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the output of containers is not looked after");
            return false;
        }
    };
    let mut grown = false;
    let mut now = BTreeMap::new();
    for Output { path, .. } in outputs {
        let before = lengths.get(&path).copied();
        match look_at(&path, most, before) {
            Ok(length) => {
                grown |= length.saturating_sub(before.unwrap_or(length)) > most / 8;
                now.insert(path, length);
            }
            // Its task has been forgotten meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, error = chain(&error), "an output is not kept in bounds");
            }
        }
    }
    *lengths = now;
    grown
}

/// Notes how long an output is, if it has changed, and gives the front of it back
/// if it takes too much of the disk.
fn look_at(path: &Path, most: u64, before: Option<u64>) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let metadata = file.metadata()?;
    let length = metadata.len();
    let taken = metadata.blocks().saturating_mul(512);
    let mut gone = length.saturating_sub(taken);
    if taken > most {
        // Half of it at once, so that it is not done at every look.
        gone = length.saturating_sub(most / 2) / BLOCK * BLOCK;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&file, flags, 0, i64::try_from(gone).unwrap_or(i64::MAX)) {
            Ok(()) => {}
            // The file system has no holes. Whoever appends begins anew at the front.
            Err(Errno::EOPNOTSUPP) => {
                file.set_len(0)?;
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let known = match before {
        Some(known) => Some(known),
        None => times::read(path)?.last().map(|mark| mark.length),
    };
    if known != Some(length) {
        times::add(path, Mark { at: clock::now(), length }, gone)?;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::super::{Piece, Reader};
    use super::*;
    use std::fs;
    use std::io::Write;

    const MOST: u64 = 1 << 20;

    fn world() -> (tempfile::TempDir, Output) {
        let dir = tempfile::tempdir().expect("a directory");
        let task = dir.path().join("0123abcd");
        fs::create_dir(&task).expect("made");
        let path = task.join("web.log");
        fs::write(&path, "").expect("made");
        (dir, Output { task: "0123abcd".to_owned(), container: "web".to_owned(), path })
    }

    fn taken(path: &Path) -> u64 {
        fs::metadata(path).expect("there").blocks() * 512
    }

    #[test]
    fn what_is_too_much_goes_from_the_front_and_nothing_else_moves() {
        let (dir, output) = world();
        let mut writer = OpenOptions::new().append(true).open(&output.path).expect("opened");
        let mut lengths = BTreeMap::new();
        let mut last = 0;
        for _ in 0..40 {
            for _ in 0..1000 {
                last += 1;
                writeln!(writer, "line {last:>40} {:>50}", "").expect("written");
            }
            look(dir.path(), MOST, &mut lengths);
            assert!(taken(&output.path) <= MOST, "{}", taken(&output.path));
        }
        let length = fs::metadata(&output.path).expect("there").len();
        assert!(length > 3 * MOST, "only {length} bytes were written");

        let mut reader = Reader::open(&output, None).expect("opened");
        let (mut text, mut dropped) = (Vec::new(), 0);
        loop {
            let Piece { dropped: gone, bytes } = reader.next(1 << 16).expect("read");
            if bytes.is_empty() {
                break;
            }
            dropped += gone;
            text.extend(bytes);
        }
        assert_eq!(dropped + u64::try_from(text.len()).expect("few"), length);
        let text = String::from_utf8(text).expect("no zeros, no halves");
        let numbers: Vec<u64> = text
            .lines()
            .map(|line| line.split_whitespace().nth(1).expect("whole").parse().expect("a number"))
            .collect();
        assert_eq!(numbers.last(), Some(&last));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "lines are missing");
        assert!(u64::try_from(text.len()).expect("few") >= MOST / 2 - BLOCK, "too much is gone");
    }

    #[test]
    fn a_look_notes_the_time_only_of_what_changed() {
        let (dir, output) = world();
        let mut lengths = BTreeMap::new();
        look(dir.path(), MOST, &mut lengths);
        look(dir.path(), MOST, &mut lengths);
        fs::write(&output.path, "hello\n").expect("written");
        look(dir.path(), MOST, &mut lengths);
        look(dir.path(), MOST, &mut lengths);
        // As after a restart of the agent.
        look(dir.path(), MOST, &mut BTreeMap::new());
        let marks = times::read(&output.path).expect("read");
        assert_eq!(marks.iter().map(|mark| mark.length).collect::<Vec<_>>(), [0, 6]);
    }

    #[test]
    fn growing_fast_is_noticed() {
        let (dir, output) = world();
        let mut lengths = BTreeMap::new();
        assert!(!look(dir.path(), MOST, &mut lengths));
        fs::write(&output.path, vec![b'x'; 200_000]).expect("written");
        assert!(look(dir.path(), MOST, &mut lengths));
        assert!(!look(dir.path(), MOST, &mut lengths));
    }
}
