//! The reading side.

use super::error::describe;
use super::link::{DEADLINE, Link, Sql, blob, column};
use super::load::version;
use super::settings::Settings;
use crate::domain::range::KeyRange;
use crate::domain::version::Row;
use crate::store::links::Links;
use crate::store::replicated::Tail;
use crate::store::{Logged, Page, Reader, StoreError};
use bytes::Bytes;
use mysql_async::prelude::ToValue;
use mysql_async::{Error, Params, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Revisions that are read at once.
const REVISIONS: usize = 2000;
/// Bytes that replicas read at once.
const TAIL_BYTES: u64 = 4 << 20;

/// A few connections that readers share.
pub(super) struct Pool {
    settings: Arc<Settings>,
    links: Links<Link>,
}

impl Pool {
    pub(super) fn new(settings: &Arc<Settings>, connections: usize) -> Self {
        Self {
            settings: Arc::clone(settings),
            links: Links::new(connections, || Link::new(settings, DEADLINE)),
        }
    }
}

impl Reader for Pool {
    fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<String> = rows.iter().map(Row::to_string).collect();
        let sql = format!(
            "SELECT id, value FROM log WHERE id IN ({})",
            numbers.join(",")
        );
        let sql = Sql {
            sent: &sql,
            shown: Some("SELECT id, value FROM log WHERE id IN (?)"),
        };
        let answer = self.links.next()?.run("reading values", sql, ());
        let answer = self.links.block_on(answer)?;
        let value = |row: &mysql_async::Row| Ok((column(row, 0)?, blob(row, 1)?));
        let found: Result<HashMap<Row, Bytes>, Error> = answer.rows.iter().map(value).collect();
        let found = found.map_err(|error| describe(&self.settings, "reading values", &error))?;
        Ok(rows.iter().map(|row| found.get(row).cloned()).collect())
    }

    fn page(
        &self,
        range: &KeyRange,
        from: i64,
        through: i64,
        bytes: usize,
    ) -> Result<Page, StoreError> {
        let part = Part {
            range: Some(range),
            from,
            through: ("revision", through),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        let link = self.links.next()?;
        let (read, compacted) = self.links.block_on(async {
            let read = part.read(link, &self.settings).await?;
            Ok::<_, StoreError>((read, compacted(link, &self.settings).await?))
        })?;
        Ok(Page {
            through: read.cut_after.unwrap_or(through),
            writes: read.writes,
            compacted,
        })
    }
}

/// Rows of the revisions after `revision`, up to row `through`.
pub(super) async fn tail(
    link: &Link,
    settings: &Settings,
    revision: i64,
    through: Row,
) -> Result<Tail, StoreError> {
    let part = Part {
        range: None,
        from: revision + 1,
        through: ("id", through),
        bytes: TAIL_BYTES,
    };
    let read = part.read(link, settings).await?;
    Ok(Tail {
        writes: read.writes,
        more: read.cut_after.is_some(),
        compacted: compacted(link, settings).await?,
    })
}

/// Read after the rows: what was missing among them was forgotten by then.
async fn compacted(link: &Link, settings: &Settings) -> Result<i64, StoreError> {
    let doing = "reading the compaction";
    let sql = "SELECT value FROM meta WHERE name = 'compacted'";
    let rows = link.run(doing, sql, ()).await?.rows;
    let value = rows.first().map(|row| column(row, 0)).transpose();
    Ok(value
        .map_err(|error| describe(settings, doing, &error))?
        .unwrap_or(-1))
}

/// Which part of the log to read: whole revisions, as many as fit into `bytes`, at least one.
struct Part<'r> {
    range: Option<&'r KeyRange>,
    from: i64,
    /// A column and the last of it.
    through: (&'static str, i64),
    bytes: u64,
}

struct Read {
    writes: Vec<Logged>,
    /// There may be more after this revision.
    cut_after: Option<i64>,
}

impl Part<'_> {
    /// First how large the revisions are, then as many of them as fit.
    async fn read(&self, link: &Link, settings: &Settings) -> Result<Read, StoreError> {
        let doing = "reading the log";
        let (condition, mut parameters) = self.condition();
        let sizes = format!(
            "SELECT revision, CAST(SUM(LENGTH(name) + LENGTH(value) + 64) AS UNSIGNED) FROM log \
             WHERE {condition} GROUP BY revision ORDER BY revision LIMIT {REVISIONS}"
        );
        let sizes = link
            .run(doing, sizes.as_str(), positional(&parameters))
            .await?
            .rows;
        let sizes: Result<Vec<(i64, u64)>, Error> = sizes
            .iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect();
        let sizes = sizes.map_err(|error| describe(settings, doing, &error))?;
        let Some((last, cut_after)) = fitting(&sizes, self.bytes) else {
            return Ok(Read {
                writes: Vec::new(),
                cut_after: None,
            });
        };
        let rows = format!(
            "SELECT id, revision, name, create_revision, version, lease, value FROM log \
             WHERE {condition} AND revision <= ? ORDER BY id"
        );
        parameters.push(last.to_value());
        let rows = link
            .run(doing, rows.as_str(), positional(&parameters))
            .await?
            .rows;
        let writes: Result<Vec<Logged>, Error> = rows.iter().map(logged).collect();
        Ok(Read {
            writes: writes.map_err(|error| describe(settings, doing, &error))?,
            cut_after,
        })
    }

    fn condition(&self) -> (String, Vec<Value>) {
        let (column, last) = self.through;
        let mut condition = format!("revision >= ? AND {column} <= ?");
        let mut parameters = vec![self.from.to_value(), last.to_value()];
        if let Some(range) = self.range {
            condition += " AND name >= ?";
            parameters.push(range.start().as_ref().to_value());
            if let Some(end) = range.end() {
                condition += " AND name < ?";
                parameters.push(end.as_ref().to_value());
            }
        }
        (condition, parameters)
    }
}

fn positional(parameters: &[Value]) -> Params {
    Params::Positional(parameters.to_vec())
}

/// The last of some revisions that fits into `bytes`, and whether others may come after it; `None` if there are none.
fn fitting(sizes: &[(i64, u64)], bytes: u64) -> Option<(i64, Option<i64>)> {
    let mut taken: u64 = 0;
    let mut last = None;
    for (revision, size) in sizes {
        if last.is_some() && taken >= bytes {
            break;
        }
        taken += size;
        last = Some(*revision);
    }
    let last = last?;
    let is_cut = sizes.len() >= REVISIONS || sizes.last().is_some_and(|(end, _)| *end > last);
    Some((last, is_cut.then_some(last)))
}

fn logged(row: &mysql_async::Row) -> Result<Logged, Error> {
    Ok(Logged {
        key: blob(row, 2)?,
        version: version(row)?,
        value: blob(row, 6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_revisions_as_fit_and_at_least_one() {
        assert_eq!(fitting(&[], 10), None);
        assert_eq!(fitting(&[(3, 50)], 10), Some((3, None)));
        assert_eq!(fitting(&[(3, 50), (4, 1)], 10), Some((3, Some(3))));
        assert_eq!(
            fitting(&[(3, 5), (4, 4), (7, 4), (8, 1)], 10),
            Some((7, Some(7)))
        );
        assert_eq!(fitting(&[(3, 5), (4, 4)], 10), Some((4, None)));
        let many: Vec<(i64, u64)> = (1..=2000).map(|revision| (revision, 1)).collect();
        assert_eq!(fitting(&many, u64::MAX), Some((2000, Some(2000))));
    }
}
