//! kine's table: a log whose row numbers are the revisions.

mod mysql;
mod postgres;
mod sqlite;

use crate::config::DatabaseConfig;
use crate::domain::state::Write;
use crate::domain::version::{Row, Version};
use crate::error::Error;
use crate::store::StoreError;
use crate::store::sqlite::contents::{Contents, entry};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

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

/// Which rows to read.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// All.
    All,
    /// Of each name the last one.
    Newest,
}

impl Rows {
    /// The end of a statement that reads them in order.
    fn chosen(self) -> &'static str {
        match self {
            Self::All => "FROM kine ORDER BY id",
            Self::Newest => {
                "FROM kine WHERE id IN (SELECT max(id) FROM kine GROUP BY name) ORDER BY id"
            }
        }
    }
}

/// Takes rows, one after the other.
type Visit<'v> = &'v mut dyn FnMut(&KineRow<'_>) -> Result<(), StoreError>;

/// A database with kine's table in one state, which is only read.
trait Database {
    /// The first column of what `sql` answers. It is written as all databases understand it.
    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>, StoreError>;
    /// Visits rows in order.
    fn select(&mut self, rows: Rows, visit: Visit<'_>) -> Result<(), StoreError>;
}

/// kine's table, wherever it is.
pub(super) struct Kine(Box<dyn Database>);

impl Kine {
    /// Opens a file, or a database of `postgres://…` or `mysql://…`.
    pub(super) fn open(from: &str, config: &DatabaseConfig) -> Result<Self, Error> {
        Ok(Self(if from.starts_with("mysql://") {
            Box::new(mysql::Server::open(from, config)?)
        } else if from.starts_with("postgres://") || from.starts_with("postgresql://") {
            Box::new(postgres::Server::open(from, config)?)
        } else {
            Box::new(sqlite::File::open(Path::new(from))?)
        }))
    }

    pub(super) fn rows(&mut self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM kine")
            .map(i64::unsigned_abs)
    }

    pub(super) fn newest(&mut self) -> Result<i64, StoreError> {
        self.number("SELECT coalesce(max(id), 1) FROM kine")
    }

    pub(super) fn compacted(&mut self) -> Result<i64, StoreError> {
        self.number(
            "SELECT coalesce(max(prev_revision), 0) FROM kine WHERE name = 'compact_rev_key'",
        )
    }

    /// The times to live of all keys that have one.
    pub(super) fn lease_seconds(&mut self) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT DISTINCT lease FROM kine WHERE lease > 0 AND deleted = 0";
        self.0.numbers(sql)
    }

    /// Visits all rows in order.
    pub(super) fn each(&mut self, visit: Visit<'_>) -> Result<(), StoreError> {
        self.0.select(Rows::All, visit)
    }

    /// What it holds at its newest revision.
    pub(super) fn contents(&mut self) -> Result<Contents, StoreError> {
        let mut contents = Contents::new();
        self.0.select(Rows::Newest, &mut |row| {
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

    fn number(&mut self, sql: &str) -> Result<i64, StoreError> {
        let found = self.0.numbers(sql)?;
        Ok(found.first().copied().unwrap_or_default())
    }
}

fn failure(of: &dyn Display, found: &dyn Display) -> StoreError {
    StoreError::Failed {
        doing: format!("reading kine's database {of}"),
        found: found.to_string(),
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
