//! kine's table: a log whose row numbers are the revisions.

use crate::domain::state::Write;
use crate::domain::version::{Row, Version};
use crate::store::StoreError;
use crate::store::sqlite::contents::{Contents, entry};
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// kine keeps under this name, in `prev_revision`, how far it has compacted.
const COMPACTED: &[u8] = b"compact_rev_key";
/// And what the API server put under that name here, with the version before the value.
const COMPACTED_BY_CLIENT: &[u8] = b"compact_rev_key_apiserver";

/// A row of kine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KineRow<'r> {
    pub(super) id: i64,
    pub(super) name: &'r [u8],
    pub(super) created: bool,
    pub(super) deleted: bool,
    pub(super) create_revision: i64,
    pub(super) lease: i64,
    pub(super) value: &'r [u8],
}

/// A database of kine's, which is only read.
pub(super) struct Kine {
    path: PathBuf,
    connection: Connection,
}

impl Kine {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| failure(path, &error);
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

    pub(super) fn rows(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM kine")
            .map(i64::unsigned_abs)
    }

    pub(super) fn newest(&self) -> Result<i64, StoreError> {
        self.number("SELECT coalesce(max(id), 1) FROM kine")
    }

    pub(super) fn compacted(&self) -> Result<i64, StoreError> {
        self.number(
            "SELECT coalesce(max(prev_revision), 0) FROM kine WHERE name = 'compact_rev_key'",
        )
    }

    /// The times to live of all keys that have one.
    pub(super) fn lease_seconds(&self) -> Result<Vec<i64>, StoreError> {
        let read = || {
            let sql =
                "SELECT DISTINCT lease FROM kine WHERE lease > 0 AND deleted = 0 ORDER BY lease";
            let mut statement = self.connection.prepare(sql)?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<i64>>>()
        };
        read().map_err(|error| failure(&self.path, &error))
    }

    /// Visits all rows in order.
    pub(super) fn each(
        &self,
        visit: &mut dyn FnMut(&KineRow<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.select("SELECT * FROM kine ORDER BY id", visit)
    }

    /// What it holds at its newest revision.
    pub(super) fn contents(&self) -> Result<Contents, StoreError> {
        let mut contents = Contents::new();
        let newest =
            "SELECT * FROM kine WHERE id IN (SELECT max(id) FROM kine GROUP BY name) ORDER BY id";
        self.select(newest, &mut |row| {
            if let Some(key) = key(row)
                && !row.deleted
            {
                let (_, value) = value(row);
                contents.insert(key.to_vec(), entry(row.id, row.lease, value));
            }
            Ok(())
        })?;
        Ok(contents)
    }

    fn select(
        &self,
        sql: &str,
        visit: &mut dyn FnMut(&KineRow<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| failure(&self.path, &error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(&read(row).map_err(failed)?)?;
        }
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<i64, StoreError> {
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|error| failure(&self.path, &error))
    }
}

fn read<'r>(row: &'r rusqlite::Row<'_>) -> rusqlite::Result<KineRow<'r>> {
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

fn failure(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Failed {
        doing: format!("reading kine's database {}", path.display()),
        found: error.to_string(),
    }
}

/// The key of a row, `None` where it is only kine's own.
fn key<'r>(row: &KineRow<'r>) -> Option<&'r [u8]> {
    match row.name {
        COMPACTED => None,
        COMPACTED_BY_CLIENT => Some(COMPACTED),
        // Fills a revision that was never written.
        name if name == format!("gap-{}", row.id).as_bytes() => None,
        name => Some(name),
    }
}

/// The version where kine tells one, and the value.
fn value<'r>(row: &KineRow<'r>) -> (Option<i64>, &'r [u8]) {
    if row.name != COMPACTED_BY_CLIENT {
        return (None, row.value);
    }
    let bar = row.value.iter().position(|byte| *byte == b'|');
    let (version, value) = match bar {
        Some(bar) => (
            row.value.get(..bar),
            row.value.get(bar + 1..).unwrap_or_default(),
        ),
        // Older ones kept the version alone.
        None => (Some(row.value), &b"0"[..]),
    };
    let version = version.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    (version, value)
}

/// kine's rows as writes: with the versions that kine doesn't count.
#[derive(Default)]
pub(super) struct Translation {
    keys: HashMap<Bytes, Version>,
    row: Row,
}

impl Translation {
    pub(super) fn next(&mut self, row: &KineRow<'_>) -> Option<Write> {
        let key = Bytes::copy_from_slice(key(row)?);
        self.row += 1;
        let previous = self.keys.get(&key).copied();
        let alive = previous.filter(|version| !version.is_tombstone());
        let (told, value) = value(row);
        let version = if row.deleted {
            Version::tombstone(self.row, row.id)
        } else {
            let (create_revision, version) = match alive {
                Some(alive) => (alive.create_revision, alive.version + 1),
                None if row.created || row.create_revision <= 0 => (row.id, 1),
                // How often it was written before the compaction is forgotten: at least once.
                None => (row.create_revision, 2),
            };
            Version {
                row: self.row,
                mod_revision: row.id,
                create_revision,
                version: told.unwrap_or(version),
                lease: row.lease,
            }
        };
        self.keys.insert(key.clone(), version);
        let value = if row.deleted {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(value)
        };
        Some(Write {
            key,
            version,
            value,
            previous: alive,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, name: &'static str) -> KineRow<'static> {
        KineRow {
            id,
            name: name.as_bytes(),
            created: false,
            deleted: false,
            create_revision: 0,
            lease: 0,
            value: b"v",
        }
    }

    fn versions(rows: &[KineRow<'_>]) -> Vec<(i64, i64, i64)> {
        let mut translation = Translation::default();
        let writes = rows.iter().filter_map(|row| translation.next(row));
        writes
            .map(|write| write.version)
            .map(|version| {
                (
                    version.mod_revision,
                    version.create_revision,
                    version.version,
                )
            })
            .collect()
    }

    #[test]
    fn versions_are_counted() {
        let created = KineRow {
            created: true,
            ..row(3, "a")
        };
        let deleted = KineRow {
            deleted: true,
            ..row(7, "a")
        };
        let again = KineRow {
            created: true,
            ..row(9, "a")
        };
        let updated = KineRow {
            create_revision: 3,
            ..row(5, "a")
        };
        assert_eq!(
            versions(&[created, updated, deleted, again]),
            [(3, 3, 1), (5, 3, 2), (7, 0, 0), (9, 9, 1)]
        );
        let compacted = KineRow {
            create_revision: 3,
            ..row(5, "a")
        };
        assert_eq!(versions(&[compacted]), [(5, 3, 2)]);
    }

    #[test]
    fn what_is_only_kines_stays_behind() {
        let marker = KineRow {
            value: b"7|1234",
            ..row(8, "compact_rev_key_apiserver")
        };
        let rows = [
            row(5, "compact_rev_key"),
            row(6, "gap-6"),
            row(7, "gap-6"),
            marker,
        ];
        assert_eq!(versions(&rows), [(7, 7, 1), (8, 8, 7)]);
        assert_eq!(value(&rows[3]), (Some(7), &b"1234"[..]));
    }
}
