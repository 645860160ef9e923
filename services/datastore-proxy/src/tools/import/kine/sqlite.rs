//! K3s's `state.db`.

use super::{Database, KineRow, Rows, Visit, failure};
use crate::store::StoreError;
use rusqlite::{Connection, OpenFlags, Row};
use std::path::{Path, PathBuf};

pub(super) struct File {
    path: PathBuf,
    connection: Connection,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| failure(&path.display(), &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        // One state for all that is read.
        connection.execute_batch("BEGIN").map_err(failed)?;
        connection
            .prepare("SELECT id, name, created, deleted, create_revision, lease, value FROM kine")
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        failure(&self.path.display(), error)
    }
}

impl Database for File {
    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare(sql)?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(&error))
    }

    fn select(&mut self, rows: Rows, visit: Visit<'_>) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| self.failed(&error);
        let sql = format!("SELECT * {}", rows.chosen());
        let mut statement = self.connection.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(&read(row).map_err(failed)?)?;
        }
        Ok(())
    }
}

fn read<'r>(row: &'r Row<'_>) -> rusqlite::Result<KineRow<'r>> {
    let bytes = |name: &str| {
        Ok::<_, rusqlite::Error>(row.get_ref(name)?.as_bytes_or_null()?.unwrap_or_default())
    };
    let number =
        |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.unwrap_or_default());
    Ok(KineRow {
        id: row.get("id")?,
        name: bytes("name")?,
        created: number("created")? != 0,
        deleted: number("deleted")? != 0,
        create_revision: number("create_revision")?,
        lease: number("lease")?,
        value: bytes("value")?,
    })
}
