//! Reading all records, and committing groups of transactions.

use ident::Scope;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::borrow::Cow;
use std::sync::Arc;
use store::{Commit, Guard, Key, Loaded, Revision, StoreError, StoredRecord, Write};

/// Everything there is, as of one moment.
pub(crate) fn load(connection: &mut Connection) -> Result<Loaded, StoreError> {
    let failed = |cause| StoreError::backend("reading the database", cause);
    let transaction = connection.transaction().map_err(failed)?;
    let mut select = transaction
        .prepare("SELECT account, region, kind, id, version, revision, bytes FROM records")
        .map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    let mut records: Vec<StoredRecord> = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let last = records.last().map(|record| &record.key.scope);
        records.push(record(row, last)?);
    }
    let revision = newest(&transaction)?;
    Ok(Loaded { revision, records })
}

/// Makes all of `batch` durable, or nothing.
pub(crate) fn commit(connection: &mut Connection, batch: &[Commit]) -> Result<(), StoreError> {
    let failed = |cause| StoreError::backend("committing to the database", cause);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let mut revision = newest(&transaction)?;
    for commit in batch {
        // Dropping the transaction rolls back what was applied of the batch.
        if commit.revision != revision.next() {
            return Err(StoreError::Conflict);
        }
        revision = commit.revision;
        for guard in &commit.guards {
            if written(&transaction, guard)? != guard.revision {
                return Err(StoreError::Conflict);
            }
        }
        for write in &commit.writes {
            apply(&transaction, commit.revision, write)?;
        }
    }
    transaction
        .execute("UPDATE meta SET revision = ?1 WHERE only = 1", [column(revision)?])
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn newest(transaction: &Transaction<'_>) -> Result<Revision, StoreError> {
    let revision = transaction
        .prepare_cached("SELECT revision FROM meta WHERE only = 1")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(|cause| StoreError::backend("reading the revision", cause))?;
    number(revision)
}

/// The revision that wrote the guarded record last.
fn written(transaction: &Transaction<'_>, guard: &Guard) -> Result<Option<Revision>, StoreError> {
    let Key { scope, kind, id } = &guard.key;
    let (account, region) = (scope.account.as_str(), scope.region.as_str());
    transaction
        .prepare_cached(
            "SELECT revision FROM records
             WHERE account = ?1 AND region = ?2 AND kind = ?3 AND id = ?4",
        )
        .and_then(|mut select| {
            select.query_row(params![account, region, kind, id], |row| row.get(0)).optional()
        })
        .map_err(|cause| StoreError::backend("checking a guard", cause))?
        .map(number)
        .transpose()
}

fn apply(
    transaction: &Transaction<'_>,
    revision: Revision,
    write: &Write,
) -> Result<(), StoreError> {
    let Key { scope, kind, id } = &write.key;
    let (account, region) = (scope.account.as_str(), scope.region.as_str());
    let revision = column(revision)?;
    match &write.value {
        Some(value) => transaction
            .prepare_cached(
                "INSERT INTO records (account, region, kind, id, version, revision, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET version = ?5, revision = ?6, bytes = ?7",
            )
            .and_then(|mut upsert| {
                let (version, bytes) = (value.version, &value.bytes);
                upsert.execute(params![account, region, kind, id, version, revision, bytes])
            }),
        None => transaction
            .prepare_cached(
                "DELETE FROM records
                 WHERE account = ?1 AND region = ?2 AND kind = ?3 AND id = ?4",
            )
            .and_then(|mut delete| delete.execute(params![account, region, kind, id])),
    }
    .map_err(|cause| StoreError::backend("writing a record", cause))?;
    Ok(())
}

/// The record in `row`. Its scope is shared with the one before if it is the
/// same, as it nearly always is.
fn record(row: &Row<'_>, last: Option<&Arc<Scope>>) -> Result<StoredRecord, StoreError> {
    let failed = |cause| StoreError::backend("reading a record", cause);
    let text = |at| {
        row.get_ref(at)
            .map_err(failed)?
            .as_str()
            .map_err(|cause| StoreError::backend("reading a key", cause))
    };
    let (account, region) = (text(0)?, text(1)?);
    let scope = match last {
        Some(last) if last.account.as_str() == account && last.region.as_str() == region => {
            Arc::clone(last)
        }
        _ => Arc::new(Scope {
            account: account
                .parse()
                .map_err(|cause| StoreError::backend("reading a key", cause))?,
            region: region.parse().map_err(|cause| StoreError::backend("reading a key", cause))?,
        }),
    };
    Ok(StoredRecord {
        key: Key { scope, kind: Cow::Owned(text(2)?.into()), id: text(3)?.into() },
        version: row.get(4).map_err(failed)?,
        revision: number(row.get(5).map_err(failed)?)?,
        bytes: row.get(6).map_err(failed)?,
    })
}

/// A revision as SQLite keeps it: its integers are signed.
fn column(revision: Revision) -> Result<i64, StoreError> {
    i64::try_from(revision.0).map_err(|cause| StoreError::backend("writing a revision", cause))
}

fn number(revision: i64) -> Result<Revision, StoreError> {
    let number = u64::try_from(revision);
    number.map(Revision).map_err(|cause| StoreError::backend("reading a revision", cause))
}
