//! Which files are opened, and which are refused and left alone.

use rusqlite::Connection;
use std::error::Error as _;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use store::conformance::{Lamp, block_on};
use store::{Backend, Registry, Store, StoreError};
use store_sqlite::{OpenError, SqliteBackend};

/// A directory, and the path of a database in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("state.db");
    (directory, path)
}

/// Writes `count` lamps, and closes the database.
fn fill(path: &Path, count: usize) {
    let backend = SqliteBackend::open(path).expect("opens");
    let store =
        Store::open_inline(Box::new(backend), Registry::new().record::<Lamp>()).expect("is sound");
    for n in 0..count {
        let room = "hall".repeat(100);
        block_on(store.transact(|txn| {
            txn.put(Lamp::new(&format!("{n}"), &room));
            Ok::<_, StoreError>(())
        }))
        .expect("commits");
    }
}

fn tamper(path: &Path, sql: &str) {
    let connection = Connection::open(path).expect("opens");
    connection.execute_batch(sql).expect("succeeds");
}

#[test]
fn the_promised_durability_is_configured() {
    let (_directory, path) = place();
    fill(&path, 1);
    let connection = Connection::open(&path).expect("opens");
    let read = |pragma: &str| -> String {
        let query = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
        connection.query_row(&query, [], |row| row.get(0)).expect("reads")
    };
    assert_eq!(read("journal_mode"), "wal");
    assert_eq!(read("application_id"), 0x4c61_6e64.to_string());
    let synced = format!("{:?}", SqliteBackend::open(&path).expect("opens").synchronous());
    assert_eq!(synced, "Ok(2)", "2 is FULL");
}

#[test]
fn one_process_at_a_time() {
    let (_directory, path) = place();
    let first = SqliteBackend::open(&path).expect("opens");
    let second = SqliteBackend::open(&path).expect_err("is taken");
    assert!(matches!(second, OpenError::InUse { .. }), "{second:?}");
    assert!(second.to_string().ends_with("is in use by another process"), "{second}");
    drop(first);
    SqliteBackend::open(&path).expect("is free again");
}

#[test]
fn others_may_read_meanwhile() {
    let (_directory, path) = place();
    fill(&path, 3);
    let _held = SqliteBackend::open(&path).expect("opens");
    let connection = Connection::open(&path).expect("opens");
    let count: i64 =
        connection.query_row("SELECT count(*) FROM records", [], |row| row.get(0)).expect("reads");
    assert_eq!(count, 3);
}

#[test]
fn what_is_not_a_database_is_refused() {
    let (_directory, path) = place();
    for content in [&b"Dear diary, today I was nearly overwritten. ".repeat(100)[..], b"x"] {
        fs::write(&path, content).expect("writes");
        let refused = SqliteBackend::open(&path).expect_err("is no database");
        assert!(matches!(refused, OpenError::Foreign { .. }), "{refused:?}");
        assert_eq!(fs::read(&path).expect("reads"), content, "left as it was");
    }
}

#[test]
fn another_programs_database_is_refused() {
    let (_directory, path) = place();
    tamper(&path, "CREATE TABLE cookies (name TEXT); INSERT INTO cookies VALUES ('oat')");
    let before = fs::read(&path).expect("reads");
    let refused = SqliteBackend::open(&path).expect_err("is not ours");
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused:?}");
    assert_eq!(fs::read(&path).expect("reads"), before, "left as it was");
}

#[test]
fn a_newer_format_is_refused() {
    let (_directory, path) = place();
    fill(&path, 1);
    tamper(&path, "UPDATE meta SET format = 2");
    let refused = SqliteBackend::open(&path).expect_err("is newer");
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused:?}");
    tamper(&path, "UPDATE meta SET format = 1");
    SqliteBackend::open(&path).expect("was left as it was");
}

#[test]
fn missing_tables_are_damage() {
    let (_directory, path) = place();
    for sql in ["DELETE FROM meta", "DROP TABLE records", "DROP TABLE meta"] {
        fs::remove_file(&path).ok();
        fill(&path, 1);
        tamper(&path, sql);
        let refused = SqliteBackend::open(&path).expect_err("is damaged");
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{sql}: {refused:?}");
    }
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let (_directory, path) = place();
    fill(&path, 200);
    let sound = fs::read(&path).expect("reads");
    let pages = sound.len() / 4096;
    assert!(pages > 10, "{pages}");
    for page in 0..pages {
        let mut file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        file.seek(SeekFrom::Start(page as u64 * 4096)).expect("seeks");
        file.write_all(&[0xa5; 4096]).expect("writes");
        drop(file);
        let damaged = fs::read(&path).expect("reads");
        let noticed = SqliteBackend::open(&path)
            .map_err(StoreError::from)
            .and_then(|mut backend| backend.load().map(|_| ()));
        assert!(noticed.is_err(), "page {page}");
        assert_eq!(fs::read(&path).expect("reads"), damaged, "left as it was");
        fs::write(&path, &sound).expect("writes");
    }
    SqliteBackend::open(&path).expect("is sound again");
}

#[test]
fn a_truncated_database_is_refused() {
    let (_directory, path) = place();
    fill(&path, 200);
    let sound = fs::read(&path).expect("reads");
    for length in (1..sound.len()).step_by(1021).chain([4096, sound.len() - 4096, sound.len() - 1])
    {
        fs::write(&path, &sound[..length]).expect("writes");
        let refused = SqliteBackend::open(&path).expect_err("is a stump");
        let expected = matches!(refused, OpenError::Corrupt { .. } | OpenError::Foreign { .. });
        assert!(expected, "{length}: {refused:?}");
        assert_eq!(fs::read(&path).expect("reads"), sound[..length], "left as it was");
    }
}

#[test]
fn a_log_without_its_database_is_refused() {
    let (directory, path) = place();
    let mut log = directory.path().join("state.db").into_os_string();
    log.push("-wal");
    fs::write(&log, b"a log of what was").expect("writes");
    for empty in [false, true] {
        if empty {
            fs::write(&path, b"").expect("writes");
        }
        let refused = SqliteBackend::open(&path).expect_err("has lost its database");
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused:?}");
    }
    let mut content = String::new();
    fs::File::open(&log).expect("is there").read_to_string(&mut content).expect("reads");
    assert_eq!(content, "a log of what was");
}

#[test]
fn a_first_start_cut_short_is_no_obstacle() {
    let (_directory, path) = place();
    tamper(&path, "PRAGMA journal_mode = wal");
    assert!(fs::metadata(&path).expect("exists").len() > 0);
    fill(&path, 1);
}

#[test]
fn keys_that_we_never_wrote_are_refused() {
    let (_directory, path) = place();
    fill(&path, 1);
    for sql in ["SET account = 'nobody'", "SET region = ''", "SET revision = -1"] {
        let (_directory, copy) = place();
        fs::copy(&path, &copy).expect("copies");
        tamper(&copy, &format!("UPDATE records {sql}"));
        let mut backend = SqliteBackend::open(&copy).expect("opens");
        let refused = backend.load().expect_err("is none of ours");
        assert!(refused.source().is_some(), "{sql}: {refused:?}");
    }
    tamper(&path, "UPDATE meta SET revision = 0");
    let backend = SqliteBackend::open(&path).expect("opens");
    let refused = Store::open_inline(Box::new(backend), Registry::new().record::<Lamp>());
    assert!(matches!(refused, Err(StoreError::Inconsistent { .. })), "{refused:?}");
}

#[test]
fn a_missing_directory_is_named() {
    let (directory, _) = place();
    let refused =
        SqliteBackend::open(&directory.path().join("nowhere/state.db")).expect_err("is missing");
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}
