//! Reading an output while it is written, and while its front is given back.

use super::{Output, times};
use ident::Timestamp;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How far back the beginning of a line is looked for.
const LINE: u64 = 64 << 10;

/// Reads an output from its beginning, or from some moment on, as far as there is
/// anything; and further, when asked again.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// How far it has come.
    at: u64,
    /// Whether the rest of a line comes next whose beginning is gone.
    torn: bool,
}

/// Some more of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes before these are gone.
    pub dropped: u64,
    /// What there is; nothing at the end, for now.
    pub bytes: Vec<u8>,
}

impl Reader {
    /// Opens an output, from its beginning or from the line that was being written
    /// at `since`, give or take a second.
    pub fn open(output: &Output, since: Option<Timestamp>) -> io::Result<Self> {
        let mut reader = Self { file: File::open(&output.path)?, at: 0, torn: false };
        if let Some(since) = since {
            let begins = times::begins(&times::read(&output.path)?, since);
            reader.at = reader.line_before(begins)?;
        }
        Ok(reader)
    }

    /// What follows, at most `most` bytes of it.
    pub fn next(&mut self, most: usize) -> io::Result<Piece> {
        let mut dropped = 0;
        loop {
            if self.file.metadata()?.len() < self.at {
                // A file system without holes: the output began anew.
                self.at = 0;
            }
            let Some(there) = self.data_from(self.at)? else {
                return Ok(Piece { dropped, bytes: Vec::new() });
            };
            if there > self.at {
                dropped += there - self.at;
                (self.at, self.torn) = (there, true);
            }
            let mut bytes = vec![0; most];
            let count = self.file.read_at(&mut bytes, self.at)?;
            bytes.truncate(count);
            if self.data_from(self.at)? != Some(self.at) {
                // It was given back while we read, and what we have may be zeros.
                continue;
            }
            self.at += u64::try_from(count).unwrap_or(u64::MAX);
            if self.torn {
                let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                self.torn = end.is_none() && count > 0;
                let gone = bytes.drain(..end.unwrap_or(count)).count();
                dropped += u64::try_from(gone).unwrap_or(u64::MAX);
                if bytes.is_empty() && count > 0 {
                    continue;
                }
            }
            return Ok(Piece { dropped, bytes });
        }
    }

    /// Where there is something at or after a place.
    fn data_from(&self, at: u64) -> io::Result<Option<u64>> {
        let offset = i64::try_from(at).unwrap_or(i64::MAX);
        match lseek(&self.file, offset, Whence::SeekData) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(Errno::ENXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the line begins that a place is in.
    fn line_before(&self, at: u64) -> io::Result<u64> {
        let from = at.saturating_sub(LINE);
        let mut bytes = vec![0; usize::try_from(at - from).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        Ok(end.map_or(from, |end| from + u64::try_from(end).unwrap_or(0) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    fn world() -> (tempfile::TempDir, Output) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("web.log");
        (dir, Output { task: "t".to_owned(), container: "web".to_owned(), path })
    }

    fn text(reader: &mut Reader) -> String {
        let piece = reader.next(1 << 16).expect("read");
        assert_eq!(piece.dropped, 0);
        String::from_utf8(piece.bytes).expect("text")
    }

    #[test]
    fn what_is_appended_later_is_read_later() {
        let (_dir, output) = world();
        fs::write(&output.path, "one\n").expect("written");
        let mut reader = Reader::open(&output, None).expect("opened");
        assert_eq!(text(&mut reader), "one\n");
        assert_eq!(text(&mut reader), "");
        let mut writer = OpenOptions::new().append(true).open(&output.path).expect("opened");
        writer.write_all(b"two\n").expect("written");
        assert_eq!(text(&mut reader), "two\n");
    }

    #[test]
    fn since_begins_with_a_whole_line() {
        let (_dir, output) = world();
        fs::write(&output.path, "one\ntwo\nthree\n").expect("written");
        fs::write(times::path(&output.path), "10 4\n20 6\n30 14\n").expect("written");
        for (since, expected) in
            [(5, "one\ntwo\nthree\n"), (10, "two\nthree\n"), (25, "two\nthree\n"), (30, "")]
        {
            let mut reader = Reader::open(&output, Some(Timestamp(since))).expect("opened");
            assert_eq!(text(&mut reader), expected, "since {since}");
        }
    }

    #[test]
    fn an_output_that_began_anew_is_read_from_its_front() {
        let (_dir, output) = world();
        fs::write(&output.path, "a long beginning\n").expect("written");
        let mut reader = Reader::open(&output, None).expect("opened");
        assert_eq!(text(&mut reader), "a long beginning\n");
        fs::write(&output.path, "new\n").expect("written");
        assert_eq!(text(&mut reader), "new\n");
    }
}
