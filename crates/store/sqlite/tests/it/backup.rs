//! A backup is whole, whatever is written meanwhile, and can be put back.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use store::conformance::{Lamp, block_on};
use store::{Registry, Revision, Store, StoreError};
use store_sqlite::backup::{BackupError, adopt, back_up, is_staged, stage};
use store_sqlite::{OpenError, SqliteBackend};

fn registry() -> Registry {
    Registry::new().record::<Lamp>()
}

fn open(path: &Path) -> Store {
    let backend = SqliteBackend::open(path).expect("opens");
    block_on(Store::open(Box::new(backend), registry())).expect("is sound")
}

/// One transaction that gives both lamps the same number.
fn pair(store: &Store, watts: u64) {
    block_on(store.transact(|txn| {
        txn.put(Lamp { watts, ..Lamp::new("left", "hall") });
        txn.put(Lamp { watts, ..Lamp::new("right", "hall") });
        Ok::<_, StoreError>(())
    }))
    .expect("commits");
}

fn watts(store: &Store) -> Vec<u64> {
    store.view().list::<Lamp>(&Lamp::home()).map(|lamp| lamp.watts).collect()
}

#[test]
fn a_backup_sees_one_revision_while_others_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let store = open(&path);
    pair(&store, 1);
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            for number in 2.. {
                pair(&store, number);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut before = Revision(0);
        for number in 0..20 {
            let target = directory.path().join(format!("backup-{number}"));
            let summary = back_up(&path, &target).expect("backed up");
            assert_eq!(summary.records, 2);
            assert!(summary.revision >= before, "time does not run backwards");
            before = summary.revision;
            let copy = open(&target);
            let found = watts(&copy);
            assert_eq!(found[0], found[1], "both halves of one transaction");
            assert_eq!(copy.view().revision(), summary.revision);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_restored_is_what_was_backed_up_and_is_newer_than_what_was_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, target) = (directory.path().join("state.db"), directory.path().join("backup"));
    let store = open(&path);
    pair(&store, 1);
    back_up(&path, &target).expect("backed up");
    pair(&store, 2);
    let reached = store.view().revision();

    stage(&target, &path, registry()).expect("staged while in use");
    let refused = adopt(&path).expect_err("is in use");
    assert!(matches!(refused, BackupError::Source(OpenError::InUse { .. })), "{refused:?}");
    drop(store);
    assert!(adopt(&path).expect("adopted"));
    assert!(!is_staged(&path) && !adopt(&path).expect("nothing is staged any more"));

    let store = open(&path);
    assert_eq!(watts(&store), [1, 1]);
    let restored = store.view().revision();
    assert!(restored > reached, "{restored} must not look older than {reached} to anyone");
    pair(&store, 3);
    drop(store);
    let kept = open(&directory.path().join("state.db-before-restore"));
    assert_eq!(watts(&kept), [2, 2], "what was there is kept");

    // The same backup once more: newer than what came of it the first time.
    let path = directory.path().join("state.db");
    stage(&target, &path, registry()).expect("staged");
    adopt(&path).expect("adopted");
    assert!(open(&path).view().revision() > restored);
}

#[test]
fn a_log_that_a_crash_left_is_not_replayed_into_what_is_restored() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, target) = (directory.path().join("state.db"), directory.path().join("backup"));
    let store = open(&path);
    pair(&store, 1);
    back_up(&path, &target).expect("backed up");
    pair(&store, 2);
    // What a killed process leaves: the database with its log.
    let crashed = directory.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", path.display());
        fs::copy(from, format!("{}{suffix}", crashed.display())).expect("copied");
    }
    drop(store);
    stage(&target, &crashed, registry()).expect("staged");
    assert!(adopt(&crashed).expect("adopted"));
    assert_eq!(watts(&open(&crashed)), [1, 1]);
}

#[test]
fn a_lost_or_damaged_database_can_be_restored() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, target) = (directory.path().join("state.db"), directory.path().join("backup"));
    pair(&open(&path), 1);
    back_up(&path, &target).expect("backed up");
    for damage in [None, Some(&b"nothing that was ever a database"[..])] {
        fs::remove_file(&path).expect("lost");
        if let Some(bytes) = damage {
            fs::write(&path, bytes).expect("damaged");
        }
        stage(&target, &path, registry()).expect("staged");
        assert!(adopt(&path).expect("adopted"));
        assert_eq!(watts(&open(&path)), [1, 1]);
    }
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, target) = (directory.path().join("state.db"), directory.path().join("backup"));
    let missing = back_up(&path, &target).expect_err("there is no database");
    assert!(matches!(missing, BackupError::Source(_)), "{missing:?}");
    assert!(!path.exists(), "none was made by looking");

    pair(&open(&path), 1);
    fs::write(&target, "a letter").expect("written");
    let exists = back_up(&path, &target).expect_err("is a letter");
    assert!(matches!(exists, BackupError::Exists(_)), "{exists:?}");
    assert_eq!(fs::read(&target).expect("there"), b"a letter");

    let foreign = stage(&target, &path, registry()).expect_err("is no backup");
    assert!(matches!(foreign, BackupError::Source(OpenError::Foreign { .. })), "{foreign:?}");
    fs::remove_file(&target).expect("removed");
    back_up(&path, &target).expect("backed up");
    let unknown = stage(&target, &path, Registry::new()).expect_err("holds what nobody knows");
    assert!(matches!(unknown, BackupError::State(StoreError::UnknownKind { .. })), "{unknown:?}");
    assert!(!is_staged(&path));
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| !name.ends_with("-lock"))
        .collect();
    names.sort();
    assert_eq!(names, ["backup", "state.db"], "nothing half-done lies about");
}
