//! Tables and settings of the file.

use super::{StoreError, corrupt, describe};
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// "SXDS": tells our files from others.
pub(super) const APPLICATION_ID: i32 = 0x5358_4453;
/// Raised by one with each change of the tables.
pub(super) const VERSION: i32 = 1;

/// How long to wait for somebody else's lock, such as that of a person with `sqlite3`.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// `log_key` holds everything but the values, so that the index in memory is loaded without touching them. Rows
/// are numbered in the order of their revisions, so a revision is found in the log by bisection.
const TABLES: &str = "
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        revision INTEGER NOT NULL,
        key BLOB NOT NULL,
        create_revision INTEGER NOT NULL,
        version INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX log_key ON log (key, revision, create_revision, version, lease);
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY,
        ttl INTEGER NOT NULL,
        deadline INTEGER NOT NULL,
        owner TEXT NOT NULL
    ) STRICT;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Prepares the writing connection, and makes the tables of a new file.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |pragma: &str| -> Result<i32, StoreError> {
        connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .map_err(|error| describe(path, "reading", &error))
    };
    let is_new = number("schema_version")? == 0;
    if !is_new && number("application_id")? != APPLICATION_ID {
        return Err(corrupt(
            path,
            "it is a database, but not of datastore-proxy",
        ));
    }
    if !is_new && number("user_version")? != VERSION {
        let found = format!(
            "it was written by another version of datastore-proxy (schema {}, this one knows {VERSION})",
            number("user_version")?
        );
        return Err(corrupt(path, &found));
    }
    connection
        .busy_timeout(PATIENCE)
        .map_err(|error| describe(path, "setting up", &error))?;
    // An acknowledged write survives a power cut: FULL syncs the log at every commit. Checkpoints are made
    // elsewhere, see `checkpoint`.
    let settings = "
        PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = 0;
        PRAGMA journal_size_limit = 67108864;
        PRAGMA cache_size = -4096;
    ";
    connection
        .execute_batch(settings)
        .map_err(|error| describe(path, "setting up", &error))?;
    if is_new {
        create(connection).map_err(|error| describe(path, "creating the tables of", &error))?;
    }
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    for name in ["cluster_id", "member_id"] {
        let id: u64 = rand::random();
        connection.execute(
            "INSERT INTO meta (name, value) VALUES (?1, ?2)",
            (name, (id | 1).cast_signed()),
        )?;
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch("COMMIT")
}
