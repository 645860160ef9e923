//! The reading connections.

use super::SYSTEM;
use super::copy::copy;
use super::log::VALUE;
use super::{StoreError, connect, describe, load, note};
use crate::domain::range::KeyRange;
use crate::domain::state::State;
use crate::domain::version::{Row, Version};
use crate::store::span;
use crate::store::{Keys, Logged, Page, Reader};
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

const PAGE: &str = "SELECT id, revision, key, create_revision, version, lease, value FROM log \
                    WHERE id >= ?1 ORDER BY id";

/// A few connections that readers take turns on.
pub(super) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Pool {
    pub(super) fn open(path: &Path, connections: usize) -> Result<Self, StoreError> {
        let open = || {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection
                .execute_batch("PRAGMA cache_size = -1024; PRAGMA busy_timeout = 5000;")
                .map_err(|error| describe(path, "opening", &error))?;
            Ok(connection)
        };
        let idle = (0..connections).map(|_| open()).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(idle),
            returned: Condvar::new(),
        })
    }

    /// Runs `read` in one transaction, so that all of it sees the same state. `sql` is what takes its time.
    fn with<T>(
        &self,
        sql: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let span = span::statement(SYSTEM, "reading", || sql).entered();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = loop {
            match idle.pop() {
                Some(connection) => break connection,
                None => {
                    idle = self
                        .returned
                        .wait(idle)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        };
        drop(idle);
        let result = (|| {
            let transaction = connection.unchecked_transaction()?;
            read(&transaction)
        })();
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        self.returned.notify_one();
        result.map_err(|error| {
            note(&span, &error);
            describe(&self.path, "reading", &error)
        })
    }
}

impl Keys for Pool {
    fn load(&self, range: &KeyRange, state: &mut State) -> Result<(), StoreError> {
        self.with(load::keys_sql(range), |connection| {
            load::keys(connection, range, state)
        })
    }
}

impl Reader for Pool {
    fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.with(VALUE, |connection| {
            let mut statement = connection.prepare_cached(VALUE)?;
            rows.iter()
                .map(|row| {
                    let value = |row: &rusqlite::Row<'_>| {
                        Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                    };
                    statement.query_row([row], value).optional()
                })
                .collect()
        })
    }

    fn page(
        &self,
        range: &KeyRange,
        from: i64,
        through: i64,
        bytes: usize,
    ) -> Result<Page, StoreError> {
        self.with(PAGE, |connection| {
            let first = first_row(connection, from)?;
            page(connection, range, first, through, bytes)
        })
    }

    fn copy(&self) -> Result<File, StoreError> {
        copy(&self.path)
    }
}

/// The first row whose revision is at least `revision`, found by bisection: rows are numbered in the order of
/// their revisions.
fn first_row(connection: &Connection, revision: i64) -> rusqlite::Result<Row> {
    let mut at = connection
        .prepare_cached("SELECT id, revision FROM log WHERE id >= ?1 ORDER BY id LIMIT 1")?;
    let mut low: Row = 0;
    let mut high: Row =
        connection.query_row("SELECT coalesce(max(id), 0) + 1 FROM log", [], |row| {
            row.get(0)
        })?;
    // Rows below `low` are too old, `high` and later ones are not.
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(Row, i64)> = at
            .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((id, found)) if found < revision => low = Row::max(id, middle) + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn page(
    connection: &Connection,
    range: &KeyRange,
    first: Row,
    through: i64,
    bytes: usize,
) -> rusqlite::Result<Page> {
    let mut statement: CachedStatement<'_> = connection.prepare_cached(PAGE)?;
    let mut rows = statement.query([first])?;
    let mut page = Page {
        writes: Vec::new(),
        through,
        compacted: 0,
    };
    let mut size = 0;
    let mut last = 0;
    while let Some(row) = rows.next()? {
        let mod_revision: i64 = row.get(1)?;
        if mod_revision > through {
            break;
        }
        if size >= bytes && mod_revision != last {
            page.through = last;
            break;
        }
        last = mod_revision;
        let key = row.get_ref(2)?.as_blob()?;
        // A key that nobody asked for costs as well.
        size += 64;
        if !range.contains(key) {
            continue;
        }
        let key = Bytes::copy_from_slice(key);
        let value = Bytes::copy_from_slice(row.get_ref(6)?.as_blob()?);
        size += key.len() + value.len();
        let version = Version {
            row: row.get(0)?,
            mod_revision,
            create_revision: row.get(3)?,
            version: row.get(4)?,
            lease: row.get(5)?,
        };
        page.writes.push(Logged {
            key,
            version,
            value,
        });
    }
    Ok(page)
}
