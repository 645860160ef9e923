//! A copy of a store becomes a store of its own, perhaps of an earlier revision.

use super::{StoreError, connect, describe};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a lease that had ended after the revision that is gone back to: how long it had is forgotten.
const LEASE_SECONDS: i64 = 3600;
/// Who owns such leases.
const OWNER: &str = "snapshot restore";
/// The key whose deletion marks a revision that nobody wrote.
const MARK: &[u8] = b"\0sextant/revision";

/// Gives the store at `path` new ids, goes back to `revision` if there is one, and then goes on `bump` revisions
/// later, with everything before compacted. Tells how many leases came back. Nobody else may use the file.
pub fn rewind(path: &Path, revision: Option<i64>, bump: Option<i64>) -> Result<u64, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let error = |error: rusqlite::Error| describe(path, "restoring", &error);
    let transaction = connection.transaction().map_err(error)?;
    let mut renewed = 0;
    if let Some(revision) = revision {
        check(&transaction, path, revision)?;
        renewed = back(&transaction, revision).map_err(error)?;
    }
    if let Some(bump) = bump {
        advance(&transaction, bump).map_err(error)?;
    }
    rename(&transaction).map_err(error)?;
    transaction.commit().map_err(error)?;
    Ok(renewed)
}

fn check(connection: &Connection, path: &Path, revision: i64) -> Result<(), StoreError> {
    let known = newest(connection).and_then(|newest| Ok((compacted(connection)?, newest)));
    let (oldest, newest) = known.map_err(|error| describe(path, "reading", &error))?;
    if (oldest.max(1)..=newest).contains(&revision) {
        return Ok(());
    }
    Err(StoreError::Failed {
        doing: format!("going back to revision {revision}"),
        found: format!(
            "the snapshot holds revisions {} to {newest}: name one of them",
            oldest.max(1)
        ),
    })
}

fn back(connection: &Connection, revision: i64) -> rusqlite::Result<u64> {
    connection.execute("DELETE FROM log WHERE revision > ?1", [revision])?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let renewed = connection.execute(
        "INSERT INTO lease (id, ttl, deadline, owner)
         SELECT DISTINCT lease, ?1, ?2, ?3 FROM log
         WHERE lease != 0 AND lease NOT IN (SELECT id FROM lease)
           AND id IN (SELECT max(id) FROM log GROUP BY key)",
        (
            LEASE_SECONDS,
            now.saturating_add(LEASE_SECONDS * 1000),
            OWNER,
        ),
    )?;
    Ok(renewed as u64)
}

fn advance(connection: &Connection, bump: i64) -> rusqlite::Result<()> {
    let revision = newest(connection)?.saturating_add(bump);
    mark(connection, revision)?;
    set(connection, "compacted", revision)
}

/// A revision that nobody wrote: a deletion of a key that doesn't exist.
pub(super) fn mark(connection: &Connection, revision: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO log (id, revision, key, create_revision, version, lease, value)
         SELECT coalesce(max(id), 0) + 1, ?1, ?2, 0, 0, 0, x'' FROM log",
        (revision, MARK),
    )?;
    Ok(())
}

/// Clients that keep what they know of a store by its ids must not take this one for the other.
fn rename(connection: &Connection) -> rusqlite::Result<()> {
    for name in ["cluster_id", "member_id"] {
        let id: u64 = rand::random();
        set(connection, name, (id | 1).cast_signed())?;
    }
    Ok(())
}

pub(super) fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce((SELECT revision FROM log ORDER BY id DESC LIMIT 1), 1)";
    connection.query_row(sql, [], |row| row.get(0))
}

fn compacted(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(value), 0) FROM meta WHERE name = 'compacted'";
    connection.query_row(sql, [], |row| row.get(0))
}

pub(super) fn set(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    connection.execute(sql, (name, value)).map(drop)
}
