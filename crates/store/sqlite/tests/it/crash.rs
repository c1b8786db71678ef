//! A process that is killed loses nothing that it acknowledged.
//!
//! The example `crash_writer` runs as a child: it writes from several threads,
//! and acknowledges on its standard output what it has been told is durable. We
//! kill it without warning, and look. (That the disk itself forgets nothing when the power fails is the
//! file system's promise and `synchronous=FULL`'s; no test here cuts the power.)

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use store::conformance::{Lamp, block_on};
use store::{Registry, Store};
use store_sqlite::SqliteBackend;

const WRITERS: usize = 4;
const PARTS: usize = 5;
/// Crashes in the life of one database. It grows with each, and is looked
/// through after each.
const ROUNDS: u64 = 25;
/// Databases; `LIVES=100` for a long night.
const LIVES: u64 = 8;

fn open(path: &Path) -> Store {
    let backend = SqliteBackend::open(path).expect("the database opens after any crash");
    block_on(Store::open(Box::new(backend), Registry::new().record::<Lamp>())).expect("is sound")
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    #[expect(clippy::disallowed_methods, reason = "a knob of this test")]
    let lives = std::env::var("LIVES").map_or(LIVES, |text| text.parse().expect("a number"));
    for life in 0..lives {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("state.db");
        let mut acknowledged = BTreeMap::new();
        for round in life * ROUNDS..(life + 1) * ROUNDS {
            run_and_kill(&path, round, &mut acknowledged);
            inspect(&path, &acknowledged);
        }
        assert_eq!(acknowledged.len(), WRITERS, "every writer got somewhere");
    }
}

/// The example, which cargo builds with the tests and puts beside them.
fn writer() -> PathBuf {
    let mut path = std::env::current_exe().expect("has a path");
    path.pop();
    path.pop();
    path.join("examples/crash_writer")
}

/// Runs a child for a while that differs from round to round, and notes what it
/// acknowledged.
fn run_and_kill(path: &Path, round: u64, acknowledged: &mut BTreeMap<usize, u64>) {
    let mut child = Command::new(writer())
        .arg(path)
        .args([WRITERS.to_string(), PARTS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("is piped"));
    let (tell, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        // A line cut short by the kill acknowledges nothing; nor does one with
        // no end, which `lines` would not tell from a whole one.
        let mut output = output;
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if tell.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });

    // Two rounds in three count from the first acknowledgement, lest the child
    // be killed before it did anything; the third hits wherever it hits.
    let mut noted = Vec::new();
    if round % 3 != 2 {
        for line in &lines {
            let first = line.starts_with("ack");
            noted.push(line);
            if first {
                break;
            }
        }
    }
    #[expect(clippy::disallowed_methods, reason = "the moment is to be an arbitrary one")]
    thread::sleep(Duration::from_micros(round * 7_919 % 60_000));
    child.kill().expect("SIGKILL");
    child.wait().expect("is dead");
    noted.extend(lines);
    reader.join().expect("does not panic");

    for line in noted {
        let mut words = line.split_whitespace();
        if words.next() == Some("ack") {
            let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
            let writer = usize::try_from(number()).expect("is small");
            acknowledged.insert(writer, number());
        }
    }
}

fn inspect(path: &Path, acknowledged: &BTreeMap<usize, u64>) {
    let store = open(path);
    let view = store.view();
    let home = Lamp::home();
    for writer in 0..WRITERS {
        let counter = format!("{writer}");
        let reached = view.get::<Lamp>(&home, &counter).map_or(0, |lamp| lamp.watts);
        let promised = acknowledged.get(&writer).copied().unwrap_or(0);
        assert!(reached >= promised, "writer {writer} was promised {promised}, has {reached}");

        let mut parts = BTreeMap::<u64, usize>::new();
        for lamp in view.by::<Lamp>(&home, "room", &counter) {
            *parts.entry(lamp.watts).or_default() += 1;
        }
        let whole: BTreeMap<u64, usize> = (1..=reached).map(|number| (number, PARTS)).collect();
        assert_eq!(parts, whole, "each transaction up to the counter is whole, none is beyond it");
    }
}
