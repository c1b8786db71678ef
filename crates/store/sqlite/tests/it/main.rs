//! The SQLite backend: the suite of all backends, and what is its own.

mod backup;
mod crash;
mod disk;
mod files;

use store::Backend;
use store::conformance::Medium;
use store_sqlite::SqliteBackend;

/// A database in a directory that goes away with it.
#[derive(Debug)]
struct Database(tempfile::TempDir);

impl Default for Database {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
}

impl Medium for Database {
    fn open(&self) -> Box<dyn Backend> {
        let path = self.0.path().join("state.db");
        Box::new(SqliteBackend::open(&path).expect("the database opens"))
    }
}

store::conformance_suite!(Database::default());
