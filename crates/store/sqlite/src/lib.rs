//! State in one SQLite database: the default, for one control-plane machine.
//!
//! ```no_run
//! use store_sqlite::SqliteBackend;
//!
//! let backend = SqliteBackend::open("/var/lib/landfall/state.db".as_ref())?;
//! # Ok::<(), store_sqlite::OpenError>(())
//! ```
//!
//! # What holds
//!
//! - *Durable means on the disk.* The write-ahead log is synced before a commit
//!   is answered (`synchronous=FULL`), once for all transactions of a group.
//! - *One process.* A lock file beside the database keeps a second one out for
//!   as long as the first lives, and no longer: the kernel lets go of it even
//!   if the process is killed.
//! - *Never a reset.* A file that is not ours, is damaged, or is newer than this
//!   program is refused, and not written to.
//!
//! Others may read the database meanwhile, with `sqlite3` or for a [`backup`].
//!
//! # Tables
//!
//! `records` holds one row per record: its key, the version of its encoding, the
//! revision that wrote it, and the JSON. `meta` holds one row: the format of
//! these tables and the newest revision. That the file is ours at all is said by
//! SQLite's `application_id`.

pub mod backup;
mod open;
mod records;

pub use open::OpenError;

use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use store::{Backend, Commit, Loaded, StoreError};

/// A database that is open, and ours alone.
#[derive(Debug)]
pub struct SqliteBackend {
    // Closed before the lock is let go: fields are dropped in this order.
    connection: Connection,
    path: PathBuf,
    _lock: File,
}

impl SqliteBackend {
    /// Opens the database at `path`, or creates it if there is none. Its
    /// directory must exist.
    ///
    /// This reads the whole file once, to find damage before it spreads.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = open::lock(path)?;
        let connection = open::connect(path)?;
        Ok(Self { connection, path: path.to_owned(), _lock: lock })
    }

    /// How thoroughly commits are synced, in SQLite's numbers: 2 is `FULL`.
    /// For tests: the setting is not in the file but in the connection.
    #[doc(hidden)]
    pub fn synchronous(&self) -> Result<u8, rusqlite::Error> {
        self.connection.pragma_query_value(None, "synchronous", |row| row.get(0))
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Backend for SqliteBackend {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        records::load(&mut self.connection)
    }

    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError> {
        records::commit(&mut self.connection, batch)
    }
}
