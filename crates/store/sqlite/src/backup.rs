//! Copying a database while it is in use, and putting a copy in its place.
//!
//! A backup is one file: another database of ours. It is read by a connection of
//! its own, so that it can be made by any process, and sees one revision however
//! long it takes; writers do not wait for it.
//!
//! Restoring has two steps, and a crash between them loses nothing. [`stage`]
//! copies a backup beside the database, having read all of it. [`adopt`], called
//! before the database is opened, puts what is staged in its place and keeps what
//! was there under another name.

use crate::SqliteBackend;
use crate::open::{self, OpenError, suffixed};
use rusqlite::{Connection, OpenFlags, backup};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::{Registry, Revision, Store, StoreError};

/// How far a restored state's revision is set beyond the backup's. Nodes refuse
/// documents that are older than what they have, and those carry the revision;
/// how far a lost database had come, nobody knows. Four thousand million
/// transactions are more than any can have made since its backup.
const LEAP: u64 = 1 << 32;

/// A copy, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest revision.
    pub revision: Revision,
    /// How many records there are.
    pub records: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// Why there is no backup, or it was not put in place. What was there before is
/// as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file to read is not a sound database of ours.
    #[error("the copy was not made")]
    Source(#[from] OpenError),

    /// A backup never takes the place of another file.
    #[error("{0:?} exists already")]
    Exists(PathBuf),

    /// The file system refused.
    #[error("{path:?} cannot be written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },

    /// SQLite refused.
    #[error("copying the database failed")]
    Sqlite(#[from] rusqlite::Error),

    /// The backup holds something that this program cannot read.
    #[error("the state in the backup cannot be read")]
    State(#[from] StoreError),
}

/// Copies `database`, which may be in use, to the new file `target`.
pub fn back_up(database: &Path, target: &Path) -> Result<Summary, BackupError> {
    if target.exists() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let partial = suffixed(target, "-partial");
    let summary = copy(&in_use(database)?, &partial)?;
    // A link, unlike a renaming, does not replace what has appeared meanwhile.
    let linked = fs::hard_link(&partial, target);
    remove(&partial)?;
    match linked {
        Ok(()) => Ok(summary),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::Exists(target.to_owned()))
        }
        Err(cause) => Err(refused(target, cause)),
    }
}

/// Copies `backup` beside `database`, to be adopted when that is opened next, if
/// all of it can be read as `registry` says.
pub fn stage(backup: &Path, database: &Path, registry: Registry) -> Result<Summary, BackupError> {
    let partial = suffixed(&staged(database), "-partial");
    // A backup may lie where nothing can be written.
    let source = open::reading(backup, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let summary = copy(&source, &partial)?;
    let read = SqliteBackend::open(&partial)
        .map_err(BackupError::from)
        .and_then(|opened| Ok(Store::open_inline(Box::new(opened), registry)?));
    drop(read.inspect_err(|_| drop(remove(&partial)))?);
    remove(&suffixed(&partial, "-lock"))?;
    let staged = staged(database);
    fs::rename(&partial, &staged).map_err(|cause| refused(&staged, cause))?;
    Ok(summary)
}

/// Whether a backup waits to be adopted in place of `database`.
pub fn is_staged(database: &Path) -> bool {
    staged(database).exists()
}

/// Puts what is staged in place of `database`, if anything is. The database that
/// was there is kept beside it, with `-before-restore` behind its name.
pub fn adopt(database: &Path) -> Result<bool, BackupError> {
    if !is_staged(database) {
        return Ok(false);
    }
    let _lock = open::lock(database)?;
    let staged = staged(database);
    // A damaged database has no say; the leap is for that.
    let reached = in_use(database).ok().and_then(|found| open::revision(&found).ok()).unwrap_or(0);
    {
        let restored = Connection::open(&staged)?;
        let revision = open::revision(&restored)?.saturating_add(LEAP).max(reached + 1);
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        restored.execute("UPDATE meta SET revision = ?1 WHERE only = 1", [revision])?;
        restored.close().map_err(|(_, cause)| cause)?;
    }
    // The old log first: it must never lie beside a database that is not its own.
    let before = suffixed(database, "-before-restore");
    for suffix in ["-wal", "-journal", ""] {
        let (old, kept) = (suffixed(database, suffix), suffixed(&before, suffix));
        match fs::rename(&old, &kept) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(refused(&old, cause));
            }
            _ => {}
        }
    }
    remove(&suffixed(database, "-shm"))?;
    fs::rename(&staged, database).map_err(|cause| refused(database, cause))?;
    open::sync_directory(database).map_err(|cause| refused(database, cause))?;
    Ok(true)
}

fn staged(database: &Path) -> PathBuf {
    suffixed(database, "-restore")
}

/// A connection to a database that others may have open, or that a crash left.
/// It changes nothing, but may write: who closes a database last tidies its log.
fn in_use(database: &Path) -> Result<Connection, OpenError> {
    let connection = open::reading(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    open::only_read(&connection, database)?;
    Ok(connection)
}

/// Copies one database to a file that nobody else can read, as a single file.
fn copy(source: &Connection, to: &Path) -> Result<Summary, BackupError> {
    remove(to)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|cause| refused(to, cause))?;
    let copied = fill(source, to);
    if copied.is_err() {
        // What could not be finished is of no use to anybody.
        let _ = remove(to);
    }
    copied
}

fn fill(source: &Connection, to: &Path) -> Result<Summary, BackupError> {
    let mut target = Connection::open(to)?;
    // All pages in one step: one read transaction, so one revision.
    backup::Backup::new(source, &mut target)?.step(-1)?;
    let mode: String = target.query_row("PRAGMA journal_mode = delete", [], |row| row.get(0))?;
    debug_assert_eq!(mode, "delete");
    let records: i64 = target.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
    let revision = Revision(open::revision(&target)?);
    target.close().map_err(|(_, cause)| cause)?;
    let file = File::open(to).map_err(|cause| refused(to, cause))?;
    file.sync_all().map_err(|cause| refused(to, cause))?;
    let bytes = file.metadata().map_err(|cause| refused(to, cause))?.len();
    open::sync_directory(to).map_err(|cause| refused(to, cause))?;
    Ok(Summary { revision, records: u64::try_from(records).unwrap_or(0), bytes })
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(refused(path, cause)),
        _ => Ok(()),
    }
}

fn refused(path: &Path, cause: io::Error) -> BackupError {
    BackupError::Io { path: path.to_owned(), cause }
}
