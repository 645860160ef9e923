//! A new store made from what another one held.

use super::rewind::{mark, newest, set};
use super::{StoreError, connect, describe, schema};
use crate::domain::lease::Lease;
use crate::domain::state::Write;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// Writes in one transaction: nobody waits, so it may be large.
const BATCH: usize = 2000;

/// A store in the making.
pub struct Filler {
    path: PathBuf,
    connection: Connection,
    open: usize,
}

impl Filler {
    /// Begins one at `path`, where nothing may be.
    pub fn new(path: &Path) -> Result<Self, StoreError> {
        let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = connect(path, mode)?;
        schema::prepare(&connection, path)?;
        let filler = Self {
            path: path.to_owned(),
            connection,
            open: 0,
        };
        filler.try_to(|connection| connection.execute_batch("BEGIN IMMEDIATE"))?;
        Ok(filler)
    }

    /// Adds a write. They come in the order of their rows, which is that of their revisions.
    pub fn add(&mut self, write: &Write) -> Result<(), StoreError> {
        self.try_to(|connection| super::log::add_write(connection, write))?;
        self.open += 1;
        if self.open == BATCH {
            self.open = 0;
            self.try_to(|connection| connection.execute_batch("COMMIT; BEGIN IMMEDIATE"))?;
        }
        Ok(())
    }

    /// Adds a lease.
    pub fn lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.try_to(|connection| super::log::add_lease(connection, lease))
    }

    /// Says that the writes are not all that there ever were: there may be gaps up to `revision`, which becomes the
    /// newest one if none is newer.
    pub fn imported(&self, revision: i64) -> Result<(), StoreError> {
        self.try_to(|connection| {
            if newest(connection)? < revision {
                mark(connection, revision)?;
            }
            set(connection, "imported", revision)
        })
    }

    /// Makes it whole: compacted at `compacted`.
    pub fn finish(self, compacted: i64) -> Result<(), StoreError> {
        self.try_to(|connection| {
            if compacted > 0 {
                set(connection, "compacted", compacted)?;
            }
            connection.execute_batch("COMMIT")?;
            // One file, that can be given its name as a whole.
            connection.pragma_update(None, "journal_mode", "DELETE")
        })
    }

    fn try_to(
        &self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        write(&self.connection).map_err(|error| describe(&self.path, "filling", &error))
    }
}
