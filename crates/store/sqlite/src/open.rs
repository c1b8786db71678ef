//! Finding out whether a file is a database of ours that we may write to.
//!
//! The order matters: nothing is written before the file is known to be ours,
//! sound, and of a format we know.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::StoreError;

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

impl From<OpenError> for StoreError {
    fn from(cause: OpenError) -> Self {
        Self::backend("opening the database", cause)
    }
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
    let opening = Opening { path };
    opening.look()?;
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

/// A connection with `flags` to a database that there is, is ours and of a format
/// that we know. It may be in use.
pub(crate) fn reading(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let opening = Opening { path };
    opening.look()?;
    let connection = opening.step("opening", Connection::open_with_flags(path, flags))?;
    opening.step("setting the timeout", connection.busy_timeout(PATIENCE))?;
    if opening.identify(&connection)? {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    opening.examine(&connection)?;
    Ok(connection)
}

/// Keeps a connection from changing anything.
pub(crate) fn only_read(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    Opening { path }.step("refusing to write", connection.pragma_update(None, "query_only", true))
}

/// The newest revision in a database of ours.
pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT revision FROM meta WHERE only = 1";
    let revision: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    // Never negative: it counts.
    Ok(u64::try_from(revision).unwrap_or(0))
}

/// Makes durable which files there are beside `path`.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// What the start of a file says.
enum Header {
    /// Nothing, or there is no file.
    Empty,
    /// It is not SQLite's.
    Foreign,
    /// It is SQLite's, with a length that is a number of pages, or not.
    Sqlite { whole_pages: bool },
}

/// Reads the header: see section 1.3 of SQLite's file format.
fn header(path: &Path) -> io::Result<Header> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Header::Empty),
        Err(cause) => return Err(cause),
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Header::Empty);
    }
    let mut start = [0; 18];
    match file.read_exact(&mut start) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Foreign),
        Err(cause) => return Err(cause),
    }
    let Some(page_size) = start.strip_prefix(b"SQLite format 3\0") else {
        return Ok(Header::Foreign);
    };
    let page_size = match page_size {
        [0, 1] => 65_536,
        bytes => bytes.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)),
    };
    Ok(Header::Sqlite { whole_pages: page_size > 0 && length.is_multiple_of(page_size) })
}

/// Whether a table, or the one row of `meta`, is not there.
fn is_absence(cause: &rusqlite::Error) -> bool {
    matches!(cause, rusqlite::Error::QueryReturnedNoRows)
        || cause.sqlite_error_code() == Some(ErrorCode::Unknown)
}

/// The file being opened, for the sake of its errors.
struct Opening<'p> {
    path: &'p Path,
}

impl Opening<'_> {
    /// Looks at the file with our own eyes. SQLite takes whatever is shorter
    /// than a page for a new database: it would write over the stump of an old
    /// one, and throw the log of a lost one away.
    fn look(&self) -> Result<(), OpenError> {
        let path = || self.path.to_owned();
        let damaged =
            |problem: &str| Err(OpenError::Corrupt { path: path(), problem: problem.to_owned() });
        let beside = |suffix| {
            std::fs::metadata(suffixed(self.path, suffix)).is_ok_and(|file| file.len() > 0)
        };
        let log = beside("-wal");
        if beside("-journal") {
            // Our first start was cut short, and SQLite will roll it back.
            return Ok(());
        }
        let header = match header(self.path) {
            Ok(header) => header,
            Err(cause) => return Err(OpenError::Io { path: path(), cause }),
        };
        match header {
            Header::Empty if log => damaged("its write-ahead log is there, but it is empty"),
            Header::Foreign => Err(OpenError::Foreign { path: path() }),
            // While there is a log, the end of the file may be yet to come.
            Header::Sqlite { whole_pages: false } if !log => damaged("its end is missing"),
            Header::Empty | Header::Sqlite { .. } => Ok(()),
        }
    }

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
        let damaged = |problem: String| Err(OpenError::Corrupt { path: path(), problem });
        // The format first: only then do we know what to expect of the rest.
        let format = "SELECT format FROM meta WHERE only = 1";
        let found = match connection.query_row(format, [], |row| row.get(0)) {
            Err(cause) if is_absence(&cause) => return damaged(cause.to_string()),
            found => self.step::<i64>("reading the format", found)?,
        };
        if found > FORMAT {
            return Err(OpenError::Newer { path: path(), found, known: FORMAT });
        }
        if found < 1 {
            return damaged(format!("there never was a format {found}"));
        }
        let check: String = self.pragma(connection, "quick_check(1)")?;
        if check != "ok" {
            return damaged(check);
        }
        match connection.prepare("SELECT 1 FROM records") {
            Err(cause) if is_absence(&cause) => damaged(cause.to_string()),
            prepared => self.step("looking for records", prepared.map(|_| ())),
        }
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
        sync_directory(self.path)
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
