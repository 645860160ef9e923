//! Everything that can be checked of a store from its file alone.

use super::schema::{APPLICATION_ID, PATIENCE, VERSION};
use super::{StoreError, connect, describe};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Problems that are told one by one.
const TOLD: usize = 50;
/// Rows between two reports of progress.
const STEP: u64 = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// The newest revision.
    pub revision: i64,
    /// Revisions below this one are forgotten; 0 if none is.
    pub compacted: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Writes that are held.
    pub rows: u64,
    /// Leases.
    pub leases: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// More that is wrong.
    pub more: u64,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: &'static str,
}

const RESTORE: &str = "stop the service, keep a copy of the file, and restore a snapshot";
const OTHER: &str = "give the path of a datastore-proxy's store, of the version of this program";
const REWRITE: &str = "the key stays for ever: delete it, or put it again with a lease that exists";

/// Looks at all of the store at `path` as of one moment; it may be in use. `progress` hears how many rows more, and
/// how many there are.
pub fn inspect(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut inspection = Inspection::default();
    let looked = (|| {
        connection.busy_timeout(PATIENCE)?;
        let transaction = connection.unchecked_transaction()?;
        if inspection.structure(&transaction)? {
            inspection.leases(&transaction)?;
            inspection.log(&transaction, progress)?;
        }
        Ok(())
    })();
    looked.map_err(|error| describe(path, "checking", &error))?;
    Ok(inspection.finish())
}

#[derive(Default)]
struct Inspection {
    report: Report,
    /// Gaps are to be expected up to this revision.
    gaps_until: i64,
    leases: BTreeSet<i64>,
    /// The newest write of each key.
    keys: HashMap<Vec<u8>, Seen>,
    last: Option<(i64, i64)>,
}

struct Seen {
    create_revision: i64,
    version: i64,
    lease: i64,
}

/// A row of the log without its value.
struct Row<'r> {
    id: i64,
    revision: i64,
    key: &'r [u8],
    create_revision: i64,
    version: i64,
    lease: i64,
}

impl Inspection {
    fn tell(&mut self, found: String, advice: &'static str) {
        if self.report.problems.len() < TOLD {
            self.report.problems.push(Problem { found, advice });
        } else {
            self.report.more += 1;
        }
    }

    /// `false`: there is nothing that could be looked at.
    fn structure(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let number = |name: &str| -> rusqlite::Result<i32> {
            connection.pragma_query_value(None, name, |row| row.get(0))
        };
        if number("application_id")? != APPLICATION_ID {
            self.tell("it is no store of datastore-proxy".to_owned(), OTHER);
            return Ok(false);
        }
        let version = number("user_version")?;
        if version != VERSION {
            let found = format!("it has schema {version}, this program knows {VERSION}");
            self.tell(found, OTHER);
            return Ok(false);
        }
        let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let text: String = row.get(0)?;
            if text != "ok" {
                self.tell(format!("SQLite finds: {text}"), RESTORE);
            }
        }
        let meta = |name: &str| {
            let sql = "SELECT coalesce(max(value), 0) FROM meta WHERE name = ?1";
            connection.query_row(sql, [name], |row| row.get::<_, i64>(0))
        };
        self.report.compacted = meta("compacted")?;
        self.gaps_until = self.report.compacted.max(meta("imported")?);
        Ok(true)
    }

    fn leases(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT id, ttl FROM lease")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, ttl): (i64, i64) = (row.get(0)?, row.get(1)?);
            self.leases.insert(id);
            if id == 0 || ttl <= 0 {
                self.tell(format!("lease {id} has {ttl} seconds to live"), RESTORE);
            }
        }
        Ok(())
    }

    fn log(
        &mut self,
        connection: &Connection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> rusqlite::Result<()> {
        let count = "SELECT count(*) FROM log";
        let total = connection.query_row(count, [], |row| row.get::<_, i64>(0))?;
        let mut statement = connection.prepare(
            "SELECT id, revision, key, create_revision, version, lease FROM log ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.row(&Row {
                id: row.get(0)?,
                revision: row.get(1)?,
                key: row.get_ref(2)?.as_blob()?,
                create_revision: row.get(3)?,
                version: row.get(4)?,
                lease: row.get(5)?,
            });
            if self.report.rows.is_multiple_of(STEP) {
                progress(STEP, total.unsigned_abs());
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) {
        self.report.rows += 1;
        self.order(row);
        self.history(row);
        self.last = Some((row.id, row.revision));
        let seen = Seen {
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
        };
        match self.keys.get_mut(row.key) {
            Some(entry) => *entry = seen,
            None => _ = self.keys.insert(row.key.to_vec(), seen),
        }
    }

    fn order(&mut self, row: &Row<'_>) {
        let (last_id, last) = self.last.unwrap_or((0, 1));
        if row.revision < last {
            let found = format!(
                "row {} of revision {} follows revision {last}",
                row.id, row.revision
            );
            self.tell(found, RESTORE);
            return;
        }
        if row.revision <= self.gaps_until {
            return;
        }
        if row.revision > last.max(self.gaps_until) + 1 {
            let found = format!(
                "revisions {} to {} are missing",
                last.max(self.gaps_until) + 1,
                row.revision - 1
            );
            self.tell(found, RESTORE);
        } else if last > self.gaps_until && row.id != last_id + 1 {
            let found = format!("rows {} to {} are missing", last_id + 1, row.id - 1);
            self.tell(found, RESTORE);
        }
    }

    /// Whether a write follows from the one before it of the same key.
    fn history(&mut self, row: &Row<'_>) {
        let before = self.keys.get(row.key);
        let alive = before.filter(|seen| seen.version > 0);
        let is_tombstone = row.version == 0;
        let right = match alive {
            _ if is_tombstone && (row.create_revision != 0 || row.lease != 0) => false,
            Some(_) if is_tombstone => true,
            Some(seen) => {
                row.create_revision == seen.create_revision
                    && row.version > seen.version
                    && (row.version == seen.version + 1 || row.revision <= self.gaps_until)
            }
            // What came before may be compacted.
            None if row.revision <= self.gaps_until => row.create_revision <= row.revision,
            None => !is_tombstone && row.create_revision == row.revision && row.version == 1,
        };
        if !right {
            let found = format!(
                "key \"{}\" at revision {} has create_revision {} and version {}, which doesn't follow from what was before",
                row.key.escape_ascii(),
                row.revision,
                row.create_revision,
                row.version
            );
            self.tell(found, RESTORE);
        }
    }

    fn finish(mut self) -> Report {
        let keys = std::mem::take(&mut self.keys);
        let alive = keys.iter().filter(|(_, seen)| seen.version > 0);
        let mut orphans: Vec<(&Vec<u8>, i64)> = Vec::new();
        for (key, seen) in alive {
            self.report.keys += 1;
            if seen.lease != 0 && !self.leases.contains(&seen.lease) {
                orphans.push((key, seen.lease));
            }
        }
        orphans.sort_unstable();
        for (key, lease) in orphans {
            let key = key.escape_ascii();
            self.tell(
                format!("key \"{key}\" lives under lease {lease}, which doesn't exist"),
                REWRITE,
            );
        }
        self.report.leases = self.leases.len() as u64;
        self.report.revision = self.last.map_or(1, |(_, revision)| revision);
        self.report
    }
}
