//! States that earlier programs left are read by this one.
//!
//! Each fixture is a whole database as a release had it, made by
//! `scripts/state-fixture` from a running Landfall and never changed again. The
//! newest has a record of every kind, in its newest version: whoever adds a kind, or
//! raises a version, adds a fixture.

use crate::composition::registry;
use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use store::{Backend, Store};
use store_sqlite::SqliteBackend;

#[test]
fn every_version_of_every_record_can_still_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut seen = BTreeSet::new();
    let fixtures = fixtures();
    assert!(!fixtures.is_empty(), "there is at least the first release's");
    for fixture in &fixtures {
        let path = directory.path().join(fixture.file_stem().expect("has a name"));
        unpack(fixture, &path);
        let mut backend = SqliteBackend::open(&path).expect("the tables are known");
        let loaded = backend.load().expect("whole");
        seen.extend(loaded.records.iter().map(|it| (it.key.kind.to_string(), it.version)));
        let store = Store::open_inline(Box::new(backend), registry());
        store.unwrap_or_else(|error| panic!("{}: {error:?}", fixture.display()));
    }
    for (kind, newest) in registry().kinds() {
        for version in 1..=newest {
            let there = seen.contains(&(kind.to_owned(), version));
            assert!(there, "no fixture has version {version} of {kind}: run scripts/state-fixture");
        }
    }
}

pub(crate) fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = fs::read_dir(directory).expect("the fixtures are there");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

pub(crate) fn unpack(fixture: &Path, to: &Path) {
    let mut bytes = Vec::new();
    let packed = fs::File::open(fixture).expect("readable");
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("gzip");
    fs::write(to, bytes).expect("written");
}
