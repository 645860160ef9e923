//! Reading everything but the values into memory: leases and revisions at once, keys when they are asked for.

use super::{StoreError, describe};
use crate::domain::alarm::Alarms;
use crate::domain::lease::{Lease, LeaseChange};
use crate::domain::range::KeyRange;
use crate::domain::state::{NEVER_COMPACTED, State};
use crate::domain::version::Version;
use crate::store::Loaded;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// Loads everything but the keys.
pub(super) fn load(connection: &Connection, path: &Path) -> Result<Loaded, StoreError> {
    try_load(connection).map_err(|error| describe(path, "loading", &error))
}

fn try_load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let mut state = State::default();
    load_leases(connection, &mut state)?;
    state.compacted = meta(connection, "compacted")?.unwrap_or(NEVER_COMPACTED);
    state.alarms = Alarms::from_bits(meta(connection, "alarms")?.unwrap_or_default());
    if let Some((row, revision)) = last(connection)? {
        state.next_row = row + 1;
        state.revision = revision;
    }
    let id = |name| meta(connection, name).map(|id| id.unwrap_or_default().cast_unsigned());
    Ok(Loaded {
        state,
        cluster_id: id("cluster_id")?,
        member_id: id("member_id")?,
        now: None,
    })
}

fn load_leases(connection: &Connection, state: &mut State) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, ttl, deadline, owner FROM lease")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        state.leases.apply(&LeaseChange::Granted(Lease {
            id: row.get(0)?,
            ttl: row.get(1)?,
            deadline: row.get(2)?,
            owner: row.get(3)?,
        }));
    }
    Ok(())
}

const KEYS_BETWEEN: &str = "SELECT key, revision, create_revision, version, lease, id FROM log INDEXED BY log_key \
                            WHERE key >= ?1 AND key < ?2 ORDER BY key, revision";
const KEYS_FROM: &str = "SELECT key, revision, create_revision, version, lease, id FROM log INDEXED BY log_key \
                         WHERE key >= ?1 ORDER BY key, revision";

/// What [`keys`] asks.
pub(super) fn keys_sql(range: &KeyRange) -> &'static str {
    match range.end() {
        Some(_) => KEYS_BETWEEN,
        None => KEYS_FROM,
    }
}

/// Adds the keys of a range.
pub(super) fn keys(
    connection: &Connection,
    range: &KeyRange,
    state: &mut State,
) -> rusqlite::Result<()> {
    let (start, end) = (range.start().as_ref(), range.end().map(Bytes::as_ref));
    let mut statement = connection.prepare_cached(keys_sql(range))?;
    let mut rows = match end {
        Some(end) => statement.query((start, end))?,
        None => statement.query([start])?,
    };
    let mut key = Bytes::new();
    let mut versions: Vec<Version> = Vec::new();
    while let Some(row) = rows.next()? {
        let next = row.get_ref(0)?.as_blob()?;
        if next != key.as_ref() {
            add(state, &key, &mut versions);
            key = Bytes::copy_from_slice(next);
        }
        versions.push(Version {
            mod_revision: row.get(1)?,
            create_revision: row.get(2)?,
            version: row.get(3)?,
            lease: row.get(4)?,
            row: row.get(5)?,
        });
    }
    add(state, &key, &mut versions);
    Ok(())
}

/// Adds a key with its versions. Two of one revision come in any order, so they are put into that of their rows.
fn add(state: &mut State, key: &Bytes, versions: &mut Vec<Version>) {
    versions.sort_by_key(|version| version.row);
    if let Some(latest) = versions.last() {
        state.leases.attach(key, 0, latest.lease);
    }
    for version in versions.drain(..) {
        state.index.insert(key, version);
    }
}

fn last(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    connection
        .query_row(
            "SELECT id, revision FROM log ORDER BY id DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
}
