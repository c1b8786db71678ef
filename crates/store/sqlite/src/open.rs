//! Finding out whether a file is a database of ours that we may write to.
//!
//! The order matters: nothing is written before the file is known to be ours,
//! sound, and of a format we know.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// "Land", as SQLite's `application_id`: marks a file as ours, for `file(1)` too.
const APPLICATION_ID: i32 = 0x4c61_6e64;

/// The version of the tables. Records have versions of their own.
const FORMAT: i64 = 1;

/// How long we wait for someone who reads the database with another program.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        format INTEGER NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE records (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        version INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (account, region, kind, id)
    ) STRICT;
";

/// Why a database could not be opened. It has been left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open, likely another Landfall.
    #[error("{path:?} is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },

    /// The file holds something else.
    #[error("{path:?} is not a Landfall database")]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// The file is damaged. Restore it from a backup.
    #[error("{path:?} is damaged: {problem}")]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found first.
        problem: String,
    },

    /// A newer Landfall wrote it. Use that one.
    #[error("{path:?} has format {found}; this version of Landfall knows up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that we know.
        known: i64,
    },

    /// The file system refused.
    #[error("{path:?} cannot be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },

    /// SQLite refused.
    #[error("opening {path:?} failed while {doing}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What we were doing.
        doing: &'static str,
        /// Why it failed.
        #[source]
        cause: rusqlite::Error,
    },
}

/// Takes the lock that keeps other processes out.
///
/// It is a file of its own. SQLite locks the database with POSIX locks, which
/// vanish when *any* descriptor of that file is closed.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = suffixed(path, "-lock");
    let io = |cause| OpenError::Io { path: beside.clone(), cause };
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&beside).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
    }
}

/// Opens the file, satisfies itself that we may use it, and makes it ours if it
/// is new.
pub(crate) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => 0,
        Err(cause) => return Err(OpenError::Io { path: path.to_owned(), cause }),
    };
    let log_remains = std::fs::metadata(suffixed(path, "-wal")).is_ok_and(|log| log.len() > 0);
    if length == 0 && log_remains {
        // SQLite would throw the log away and start afresh.
        let problem = "its write-ahead log is there, but the database is empty".into();
        return Err(OpenError::Corrupt { path: path.to_owned(), problem });
    }

    let opening = Opening { path };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = opening.step("opening", Connection::open_with_flags(path, flags))?;
    opening.step("setting the timeout", connection.busy_timeout(PATIENCE))?;

    let fresh = opening.identify(&connection)?;
    if !fresh {
        opening.examine(&connection)?;
    }
    opening.configure(&connection)?;
    if fresh {
        opening.found(&connection)?;
    }
    Ok(connection)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// The file being opened, for the sake of its errors.
struct Opening<'p> {
    path: &'p Path,
}

impl Opening<'_> {
    /// Whether the file is new; an error if it is neither new nor ours.
    fn identify(&self, connection: &Connection) -> Result<bool, OpenError> {
        let id: i32 = self.pragma(connection, "application_id")?;
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 =
            self.step("listing tables", connection.query_row(tables, [], |row| row.get(0)))?;
        match (id, tables) {
            // Also what remains of our own first start if it was cut short.
            (0, 0) => Ok(true),
            (APPLICATION_ID, _) => Ok(false),
            (_, _) => Err(OpenError::Foreign { path: self.path.to_owned() }),
        }
    }

    /// Whether a database of ours is one that we can work with.
    fn examine(&self, connection: &Connection) -> Result<(), OpenError> {
        let path = || self.path.to_owned();
        // The format first: only then do we know what to expect of the rest.
        let format = "SELECT format FROM meta WHERE only = 1";
        let found: i64 =
            self.step("reading the format", connection.query_row(format, [], |row| row.get(0)))?;
        if found > FORMAT {
            return Err(OpenError::Newer { path: path(), found, known: FORMAT });
        }
        if found < 1 {
            let problem = format!("there never was a format {found}");
            return Err(OpenError::Corrupt { path: path(), problem });
        }
        let check: String = self.pragma(connection, "quick_check(1)")?;
        if check != "ok" {
            return Err(OpenError::Corrupt { path: path(), problem: check });
        }
        Ok(())
    }

    fn configure(&self, connection: &Connection) -> Result<(), OpenError> {
        let mode: String = self.pragma(connection, "journal_mode = wal")?;
        if mode != "wal" {
            let problem = format!("the file system allows journal mode {mode:?} only");
            let cause = io::Error::new(io::ErrorKind::Unsupported, problem);
            return Err(OpenError::Io { path: self.path.to_owned(), cause });
        }
        let settings = "
            PRAGMA synchronous = full;
            PRAGMA cell_size_check = on;
            PRAGMA trusted_schema = off;
            PRAGMA temp_store = memory;
        ";
        self.step("configuring", connection.execute_batch(settings))
    }

    /// Makes a new file ours, all at once.
    fn found(&self, connection: &Connection) -> Result<(), OpenError> {
        let batch = format!(
            "BEGIN IMMEDIATE;
             PRAGMA application_id = {APPLICATION_ID};
             {TABLES}
             INSERT INTO meta (only, format, revision) VALUES (1, {FORMAT}, 0);
             COMMIT;"
        );
        self.step("creating the tables", connection.execute_batch(&batch))?;
        // The content is synced; that there is such a file at all may not be.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| OpenError::Io { path: self.path.to_owned(), cause })
    }

    fn pragma<T: rusqlite::types::FromSql>(
        &self,
        connection: &Connection,
        pragma: &'static str,
    ) -> Result<T, OpenError> {
        let sql = format!("PRAGMA {pragma}");
        self.step(pragma, connection.query_row(&sql, [], |row| row.get(0)))
    }

    fn step<T>(&self, doing: &'static str, result: rusqlite::Result<T>) -> Result<T, OpenError> {
        let path = self.path.to_owned();
        result.map_err(|cause| match cause.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path },
            Some(ErrorCode::DatabaseCorrupt) => {
                OpenError::Corrupt { path, problem: cause.to_string() }
            }
            _ => OpenError::Sqlite { path, doing, cause },
        })
    }
}
