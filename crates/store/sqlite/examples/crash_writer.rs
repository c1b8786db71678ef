//! Writes to a database until it is killed, from several threads so that commits
//! are grouped, and says on standard output what it has been told is durable.
//!
//! usage: crash_writer DATABASE WRITERS PARTS

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use store::conformance::{Lamp, block_on};
use store::{Registry, Store, StoreError, Txn};
use store_sqlite::SqliteBackend;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, database, writers, parts] = arguments.as_slice() else {
        panic!("usage: crash_writer DATABASE WRITERS PARTS");
    };
    let writers: usize = writers.parse().expect("a number of writers");
    let parts: usize = parts.parse().expect("a number of parts");
    let backend = SqliteBackend::open(Path::new(database)).expect("opens after any crash");
    let store = Store::open(Box::new(backend), Registry::new().record::<Lamp>());
    let store = block_on(store).expect("is sound");
    thread::scope(|threads| {
        for writer in 0..writers {
            let store = &store;
            threads.spawn(move || {
                loop {
                    let commit =
                        store.transact(|txn| Ok::<_, StoreError>(write(txn, writer, parts)));
                    let number = block_on(commit).expect("commits");
                    let mut out = io::stdout().lock();
                    writeln!(out, "ack {writer} {number}").expect("somebody listens");
                    out.flush().expect("somebody listens");
                }
            });
        }
    });
}

/// Counts the writer's transactions, and leaves a record of each in parts.
fn write(txn: &mut Txn, writer: usize, parts: usize) -> u64 {
    let home = Lamp::home();
    let counter = format!("{writer}");
    let number = txn.get::<Lamp>(&home, &counter).map_or(0, |lamp| lamp.watts) + 1;
    txn.put(Lamp { watts: number, ..Lamp::new(&counter, "counter") });
    for part in 0..parts {
        let id = format!("{writer}-{number:08}-{part}");
        txn.put(Lamp { watts: number, ..Lamp::new(&id, &counter) });
    }
    number
}
