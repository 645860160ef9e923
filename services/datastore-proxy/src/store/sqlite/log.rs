//! The writing connection.

use super::SYSTEM;
use super::checkpoint::Checkpointer;
use super::{Claim, StoreError, describe, note};
use crate::domain::lease::{Lease, LeaseChange};
use crate::domain::state::{Changes, Write};
use crate::domain::version::Row;
use crate::store::span;
use crate::store::{Log, Size};
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension};
use std::cell::RefCell;

/// Pages given back per call of [`Log::shrink`]: about a millisecond.
const SHRINK_PAGES: u32 = 64;
/// Free pages that are kept for the writes to come.
const SPARE_PAGES: u64 = 1024;

const BEGIN: &str = "BEGIN IMMEDIATE";
const INSERT: &str = "INSERT INTO log (id, revision, key, create_revision, version, lease, value) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const GRANT: &str = "INSERT INTO lease (id, ttl, deadline, owner) VALUES (?1, ?2, ?3, ?4)";
const RENEW: &str = "UPDATE lease SET deadline = ?2 WHERE id = ?1";
const REVOKE: &str = "DELETE FROM lease WHERE id = ?1";
const SET: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM log WHERE id = ?1";
const COMMIT: &str = "COMMIT";
/// What a row holds.
pub(super) const VALUE: &str = "SELECT value FROM log WHERE id = ?1";

/// The log in a SQLite file.
pub(super) struct SqliteLog {
    connection: Connection,
    claim: Claim,
    checkpoint: Checkpointer,
    /// The statements of the open transaction, each once, for its span.
    asked: RefCell<Vec<&'static str>>,
}

impl SqliteLog {
    pub(super) fn new(connection: Connection, claim: Claim, checkpoint: Checkpointer) -> Self {
        Self {
            connection,
            claim,
            checkpoint,
            asked: RefCell::default(),
        }
    }

    /// Prepares a statement of the transaction.
    fn ask(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&sql) {
            asked.push(sql);
        }
        self.connection.prepare_cached(sql)
    }

    fn error(&self, doing: &str, error: &rusqlite::Error) -> StoreError {
        describe(&self.claim.path, doing, error)
    }

    fn try_append(&self, changes: &Changes) -> rusqlite::Result<()> {
        for write in &changes.writes {
            insert(self.ask(INSERT)?, write)?;
        }
        for change in &changes.leases {
            self.change_lease(change)?;
        }
        if let Some(revision) = changes.compacted {
            self.set("compacted", revision)?;
        }
        if let Some(alarms) = changes.alarms {
            self.set("alarms", alarms.to_bits())?;
        }
        Ok(())
    }

    /// [`try_append`](Self::try_append), of which nothing stays if a part of it fails.
    fn append_whole(&self, changes: &Changes) -> rusqlite::Result<()> {
        let run = |sql| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run("SAVEPOINT request")?;
        let appended = self.try_append(changes);
        // Where SQLite has already undone the whole transaction there is no savepoint left.
        if appended.is_err() && self.is_open() {
            run("ROLLBACK TO request")?;
        }
        if appended.is_ok() || self.is_open() {
            run("RELEASE request")?;
        }
        appended
    }

    fn set(&self, name: &str, value: i64) -> rusqlite::Result<()> {
        self.ask(SET)?.execute((name, value)).map(drop)
    }

    fn change_lease(&self, change: &LeaseChange) -> rusqlite::Result<()> {
        match change {
            LeaseChange::Granted(lease) => grant(self.ask(GRANT)?, lease),
            LeaseChange::Renewed { id, deadline } => {
                self.ask(RENEW)?.execute((id, deadline)).map(drop)
            }
            LeaseChange::Revoked { id } => self.ask(REVOKE)?.execute([id]).map(drop),
        }
    }

    /// Gives [`SHRINK_PAGES`] back. The statement ends each of its steps with a page, and is only committed as one
    /// when it is run to its end.
    fn vacuum(&self) -> rusqlite::Result<()> {
        let vacuum = format!("PRAGMA incremental_vacuum({SHRINK_PAGES})");
        let span = span::statement(SYSTEM, "shrinking", || vacuum.clone()).entered();
        let run = || {
            let mut statement = self.connection.prepare_cached(&vacuum)?;
            let mut pages = statement.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        };
        run().inspect_err(|error| note(&span, error))
    }

    /// Gives a little back, as long as more than `keep` pages are free.
    fn shrink_to(&self, keep: u64) -> Result<bool, StoreError> {
        let free = self.pragma("freelist_count")?;
        if free <= keep {
            return Ok(false);
        }
        self.vacuum()
            .map_err(|error| self.error("shrinking", &error))?;
        self.checkpoint.committed(&self.connection);
        Ok(free > keep + u64::from(SHRINK_PAGES))
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        self.connection
            .prepare_cached(&format!("PRAGMA {name}"))
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
            .map(i64::cast_unsigned)
            .map_err(|error| self.error("measuring", &error))
    }
}

fn insert(mut statement: CachedStatement<'_>, write: &Write) -> rusqlite::Result<()> {
    let version = &write.version;
    let values = (
        version.row,
        version.mod_revision,
        write.key.as_ref(),
        version.create_revision,
        version.version,
        version.lease,
        write.value.as_ref(),
    );
    statement.execute(values).map(drop)
}

fn grant(mut statement: CachedStatement<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let values = (lease.id, lease.ttl, lease.deadline, &lease.owner);
    statement.execute(values).map(drop)
}

/// Adds a write to the log of a store that is being made.
pub(super) fn add_write(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    insert(connection.prepare_cached(INSERT)?, write)
}

/// Adds a lease to it.
pub(super) fn add_lease(connection: &Connection, lease: &Lease) -> rusqlite::Result<()> {
    grant(connection.prepare_cached(GRANT)?, lease)
}

impl Log for SqliteLog {
    fn begin(&self) -> Result<(), StoreError> {
        self.asked.borrow_mut().clear();
        self.ask(BEGIN)
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| self.error("writing to", &error))?;
        Ok(())
    }

    fn append(&self, changes: &Changes) -> Result<(), StoreError> {
        let steps = changes.writes.len() + changes.leases.len() + changes.compacted.iter().len();
        let appended = match steps {
            // A statement that fails undoes itself; a savepoint would copy every page that it touches.
            0 | 1 => self.try_append(changes),
            _ => self.append_whole(changes),
        };
        appended.map_err(|error| self.error("writing to", &error))
    }

    fn remove(&self, rows: &[Row]) -> Result<(), StoreError> {
        let remove = || {
            let mut statement = self.ask(REMOVE)?;
            rows.iter()
                .try_for_each(|row| statement.execute([row]).map(drop))
        };
        remove().map_err(|error| self.error("compacting", &error))?;
        Ok(())
    }

    fn commit(&self) -> Result<(), StoreError> {
        // What was asked before waits for the disk here.
        let told = || [&self.asked.borrow()[..], &[COMMIT]].concat().join("; ");
        let span = span::statement(SYSTEM, "committing", told).entered();
        self.connection
            .prepare_cached(COMMIT)
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| {
                note(&span, &error);
                self.error("committing to", &error)
            })?;
        self.checkpoint.committed(&self.connection);
        Ok(())
    }

    fn is_open(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn rollback(&self) -> Result<(), StoreError> {
        if !self.is_open() {
            return Ok(());
        }
        self.connection
            .execute_batch("ROLLBACK")
            .map_err(|error| self.error("rolling back", &error))
    }

    fn last_row(&self) -> Result<Row, StoreError> {
        self.connection
            .query_row("SELECT coalesce(max(id), 0) FROM log", [], |row| row.get(0))
            .map_err(|error| self.error("reading", &error))
    }

    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError> {
        let span = span::statement(SYSTEM, "reading", || VALUE).entered();
        self.connection
            .prepare_cached(VALUE)
            .and_then(|mut statement| {
                statement
                    .query_row([row], |row| {
                        Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                    })
                    .optional()
            })
            .map_err(|error| {
                note(&span, &error);
                self.error("reading", &error)
            })
    }

    fn shrink(&self) -> Result<bool, StoreError> {
        let keep = SPARE_PAGES.max(self.pragma("page_count")? / 8);
        self.shrink_to(keep)
    }

    fn shrink_wholly(&self) -> Result<bool, StoreError> {
        self.shrink_to(0)
    }

    fn is_behind(&self) -> bool {
        self.checkpoint.is_behind()
    }

    fn size(&self) -> Result<Option<Size>, StoreError> {
        let page = self.pragma("page_size")?;
        let (pages, free) = (self.pragma("page_count")?, self.pragma("freelist_count")?);
        Ok(Some(Size {
            total: page * pages,
            in_use: page * pages.saturating_sub(free),
        }))
    }
}
