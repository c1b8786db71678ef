//! When an output was how long.
//!
//! A line says `MILLISECONDS BYTES`: at that moment after 1970 the output was that
//! long. So what was written since some moment begins no later than where the last
//! line before it points.

use ident::Timestamp;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// As long as the list may become before it is thinned.
const MOST: u64 = 64 << 10;

/// A moment, and how long the output was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) length: u64,
}

/// Where the times of an output are.
pub(super) fn path(output: &Path) -> PathBuf {
    output.with_extension("times")
}

/// All marks of an output, in order; none, if nobody looked at it yet.
pub(super) fn read(output: &Path) -> io::Result<Vec<Mark>> {
    match fs::read_to_string(path(output)) {
        Ok(text) => Ok(text.lines().filter_map(parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A line that was cut short by a crash says nothing, and nothing is missed: the
/// one before it points further to the front.
fn parse(line: &str) -> Option<Mark> {
    let (at, length) = line.split_once(' ')?;
    Some(Mark { at: Timestamp(at.parse().ok()?), length: length.parse().ok()? })
}

/// Adds a mark. `gone` is how much of the output is no longer there, of which
/// nobody needs to know the times.
pub(super) fn add(output: &Path, mark: Mark, gone: u64) -> io::Result<()> {
    let path = path(output);
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(file, "{} {}", mark.at.0, mark.length)?;
    if file.metadata()?.len() <= MOST {
        return Ok(());
    }
    let text = thin(&read(output)?, gone).iter().fold(String::new(), |mut text, mark| {
        _ = writeln!(text, "{} {}", mark.at.0, mark.length);
        text
    });
    let aside = output.with_extension("times-new");
    fs::write(&aside, text)?;
    fs::rename(aside, path)
}

/// Every second mark of those that matter, the last one always.
fn thin(marks: &[Mark], gone: u64) -> Vec<Mark> {
    let first = marks.iter().rposition(|mark| mark.length <= gone).unwrap_or(0);
    let kept = marks.get(first..).unwrap_or_default().iter().rev().step_by(2);
    let mut kept: Vec<Mark> = kept.copied().collect();
    kept.reverse();
    kept
}

/// Where the output of `since` and later begins.
pub(super) fn begins(marks: &[Mark], since: Timestamp) -> u64 {
    let after = marks.partition_point(|mark| mark.at <= since);
    after.checked_sub(1).and_then(|last| marks.get(last)).map_or(0, |mark| mark.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at: i64, length: u64) -> Mark {
        Mark { at: Timestamp(at), length }
    }

    #[test]
    fn what_was_written_since_begins_at_the_last_look_before() {
        let marks = [mark(10, 100), mark(20, 250), mark(30, 900)];
        for (since, expected) in [(0, 0), (9, 0), (10, 100), (29, 250), (30, 900), (99, 900)] {
            assert_eq!(begins(&marks, Timestamp(since)), expected, "since {since}");
        }
        assert_eq!(begins(&[], Timestamp(5)), 0);
    }

    #[test]
    fn a_long_list_is_thinned_and_forgets_what_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("web.log");
        let all = 20_000_i64;
        for at in 0..all {
            let length = u64::try_from(at).expect("positive") * 10;
            add(&output, mark(at, length), length / 2).expect("added");
        }
        let marks = read(&output).expect("read");
        assert!(fs::metadata(path(&output)).expect("there").len() <= MOST + 20);
        assert_eq!(marks.last(), Some(&mark(all - 1, 10 * (19_999))));
        assert!(marks.is_sorted_by_key(|mark| mark.at), "{marks:?}");
        // What is left of the output can still be told apart by time.
        let middle = begins(&marks, Timestamp(17_500));
        assert!((170_000..=175_000).contains(&middle), "{middle}");
    }

    #[test]
    fn half_a_line_is_no_mark() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("web.log");
        fs::write(path(&output), "10 100\n20").expect("written");
        assert_eq!(read(&output).expect("read"), [mark(10, 100)]);
    }
}
