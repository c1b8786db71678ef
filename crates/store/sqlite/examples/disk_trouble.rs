//! Fills the disk under a database, and takes the right to write away from it.
//! Whatever was acknowledged must be there afterwards, and nothing else.
//!
//! usage: disk_trouble DIRECTORY (root, in a mount namespace of its own)

use std::fs;
use std::path::Path;
use std::process::Command;
use store::conformance::{Lamp, block_on};
use store::{Registry, Store, StoreError};
use store_sqlite::{OpenError, SqliteBackend};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory] = arguments.as_slice() else { panic!("usage: disk_trouble DIRECTORY") };
    let directory = Path::new(directory);
    mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], directory);
    let path = directory.join("state.db");

    let lit = full(directory, &path);
    read_only(directory, &path, lit);
    println!("nothing was lost");
}

/// Lights lamps until the disk is full, makes room, and goes on.
fn full(directory: &Path, path: &Path) -> u64 {
    let ballast = directory.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect("there is room yet");
    let store = open(path);
    let mut lit = 0;
    let refusal = loop {
        match light(&store, lit) {
            Ok(()) => lit += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(lit > 10, "it was not full from the beginning");
    assert!(matches!(refusal, StoreError::Unavailable { .. }), "{refusal:?}");
    for _ in 0..5 {
        light(&store, lit).expect_err("it is still full");
    }
    assert_eq!(count(&store), lit, "readers see what was acknowledged");

    fs::remove_file(&ballast).expect("removed");
    for _ in 0..10 {
        light(&store, lit).expect("there is room again");
        lit += 1;
    }
    drop(store);
    assert_eq!(count(&open(path)), lit, "what was acknowledged is on the disk");
    lit
}

/// A disk that cannot be written is refused, and its database not harmed.
fn read_only(directory: &Path, path: &Path, lit: u64) {
    mount(&["-o", "remount,ro"], directory);
    let refusal = SqliteBackend::open(path).expect_err("it cannot be written");
    assert!(matches!(refusal, OpenError::Io { .. } | OpenError::Sqlite { .. }), "{refusal:?}");
    mount(&["-o", "remount,rw"], directory);
    let store = open(path);
    assert_eq!(count(&store), lit);
    light(&store, lit).expect("it can be written again");
}

fn open(path: &Path) -> Store {
    let backend = SqliteBackend::open(path).expect("opens");
    block_on(Store::open(Box::new(backend), Registry::new().record::<Lamp>())).expect("is sound")
}

fn light(store: &Store, number: u64) -> Result<(), StoreError> {
    block_on(store.transact(|txn| {
        txn.put(Lamp::new(&format!("{number:06}"), &"hall".repeat(1000)));
        Ok(())
    }))
}

fn count(store: &Store) -> u64 {
    u64::try_from(store.view().count::<Lamp>(&Lamp::home())).expect("a number")
}

fn mount(arguments: &[&str], directory: &Path) {
    let status = Command::new("mount").args(arguments).arg(directory).status();
    assert!(status.expect("mount starts").success(), "mount {arguments:?}");
}
