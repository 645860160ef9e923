//! The reading side.

use super::link::{DEADLINE, Link};
use super::settings::Settings;
use crate::domain::range::KeyRange;
use crate::domain::version::{Row, Version};
use crate::store::links::Links;
use crate::store::replicated::Tail;
use crate::store::{Logged, Page, Reader, StoreError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that are read at once, and a few more where the last revision has them.
const ROWS: i64 = 2000;
/// Bytes that replicas read at once.
const TAIL_BYTES: i64 = 4 << 20;

/// Whole revisions from one on, as many as fit into `$5` bytes, at least one. `before` is what the revisions before
/// its own take up.
const PAGE: &str = "
    SELECT id, revision, key, create_revision, version, lease, value FROM (
        SELECT *, sum(octet_length(key) + octet_length(value) + 64) OVER (ORDER BY revision)
                - sum(octet_length(key) + octet_length(value) + 64) OVER (PARTITION BY revision) AS before
        FROM (
            SELECT * FROM log
            WHERE revision >= $1 AND revision <= $2 AND key >= $3 AND ($4::bytea IS NULL OR key < $4)
            ORDER BY revision FETCH FIRST 2000 ROWS WITH TIES
        ) page
    ) sized WHERE before < $5 ORDER BY id";

const TAIL: &str = "
    SELECT id, revision, key, create_revision, version, lease, value FROM (
        SELECT *, sum(octet_length(key) + octet_length(value) + 64) OVER (ORDER BY revision)
                - sum(octet_length(key) + octet_length(value) + 64) OVER (PARTITION BY revision) AS before
        FROM (
            SELECT * FROM log WHERE revision > $1 AND id <= $2
            ORDER BY revision FETCH FIRST 2000 ROWS WITH TIES
        ) page
    ) sized WHERE before < $3 ORDER BY id";

const COMPACTED: &str = "SELECT value FROM meta WHERE name = 'compacted'";

/// A few connections that readers share.
pub(super) struct Pool(Links<Link>);

impl Pool {
    pub(super) fn new(settings: &Arc<Settings>, connections: usize) -> Self {
        Self(Links::new(connections, || Link::new(settings, DEADLINE)))
    }
}

impl Reader for Pool {
    fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let sql = "SELECT id, value FROM log WHERE id = ANY ($1)";
        let link = self.0.next()?;
        let found = self
            .0
            .block_on(link.query("reading values", sql, &[&rows]))?;
        let value = |row: &tokio_postgres::Row| -> (Row, Bytes) {
            (row.get(0), Bytes::copy_from_slice(row.get::<_, &[u8]>(1)))
        };
        let found: HashMap<Row, Bytes> = found.iter().map(value).collect();
        Ok(rows.iter().map(|row| found.get(row).cloned()).collect())
    }

    fn page(
        &self,
        range: &KeyRange,
        from: i64,
        through: i64,
        bytes: usize,
    ) -> Result<Page, StoreError> {
        let link = self.0.next()?;
        let start = range.start().as_ref();
        let end = range.end().map(Bytes::as_ref);
        let budget = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (rows, compacted) = self.0.block_on(async {
            let rows = link
                .query(
                    "reading the log",
                    PAGE,
                    &[&from, &through, &start, &end, &budget],
                )
                .await?;
            Ok::<_, StoreError>((rows, compacted(link).await?))
        })?;
        let writes: Vec<Logged> = rows.iter().map(logged).collect();
        let through = match writes.last() {
            Some(last) if is_cut(&writes, budget) => last.version.mod_revision,
            _ => through,
        };
        Ok(Page {
            writes,
            through,
            compacted,
        })
    }
}

/// Rows of the revisions after `revision`, up to row `through`.
pub(super) async fn tail(link: &Link, revision: i64, through: Row) -> Result<Tail, StoreError> {
    let rows = link
        .query(
            "following the log",
            TAIL,
            &[&revision, &through, &TAIL_BYTES],
        )
        .await?;
    let writes: Vec<Logged> = rows.iter().map(logged).collect();
    Ok(Tail {
        more: is_cut(&writes, TAIL_BYTES),
        writes,
        compacted: compacted(link).await?,
    })
}

/// Read after the rows: what was missing among them was forgotten by then.
async fn compacted(link: &Link) -> Result<i64, StoreError> {
    let rows = link.query("reading the compaction", COMPACTED, &[]).await?;
    Ok(rows.first().map_or(-1, |row| row.get(0)))
}

/// Whether there may be more rows than these.
fn is_cut(writes: &[Logged], budget: i64) -> bool {
    let size = |write: &Logged| i64::try_from(write.key.len() + write.value.len() + 64);
    let bytes: i64 = writes.iter().filter_map(|write| size(write).ok()).sum();
    bytes >= budget || i64::try_from(writes.len()).is_ok_and(|rows| rows >= ROWS)
}

fn logged(row: &tokio_postgres::Row) -> Logged {
    Logged {
        key: Bytes::copy_from_slice(row.get::<_, &[u8]>(2)),
        version: Version {
            row: row.get(0),
            mod_revision: row.get(1),
            create_revision: row.get(3),
            version: row.get(4),
            lease: row.get(5),
        },
        value: Bytes::copy_from_slice(row.get::<_, &[u8]>(6)),
    }
}
