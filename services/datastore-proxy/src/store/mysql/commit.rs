//! Storing batches: one transaction each, sent as text in one packet unless it is very large, so that it doesn't wait
//! for us half done while it holds the row of the term. It checks the term before anything else.

use super::error::{DUPLICATE, code, describe, failed};
use super::link::{Link, SYSTEM, blob, column, connect};
use super::literal::{bytes, number, numbers, packets, separated};
use super::settings::Settings;
use crate::domain::state::Write;
use crate::domain::version::Row;
use crate::store::batch::Batch;
use crate::store::replicated::Won;
use crate::store::writing::{Writing, unknown};
use crate::store::{StoreError, gathered, span};
use bytes::Bytes;
use mysql_async::prelude::Queryable;
use mysql_async::{Error, TxOpts};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::Instrument;

/// How long the database may take to store a batch before it is asked whether it did.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows per look for what a compaction left over.
const STALE_ROWS: i64 = 1000;
/// Bytes of a packet, but for one row that is larger: servers refuse more than 16 MiB.
const PACKET: usize = 8 << 20;
/// Bytes of rows in one statement.
const STATEMENT: usize = 4 << 20;

/// The connection of the writer.
pub(super) struct Committer {
    settings: Arc<Settings>,
    link: Link,
    writing: Writing,
}

impl Committer {
    pub(super) fn new(settings: &Arc<Settings>, won: &Won, last_row: Row, runtime: Handle) -> Self {
        Self {
            settings: Arc::clone(settings),
            link: Link::new(settings, PATIENCE),
            writing: Writing::new(won, last_row, runtime),
        }
    }

    /// Connects, so that the first batch doesn't wait for it.
    pub(super) async fn connect(&self) -> Result<(), StoreError> {
        self.link.connect().await
    }

    async fn store(&self, batch: &Batch) -> Result<(), StoreError> {
        let sent = Instant::now();
        let (number, applied) = self.writing.next();
        let statements = transaction(batch, self.writing.won.epoch(), number, applied);
        let send = self
            .link
            .send(packets(statements, PACKET))
            .instrument(span::statement(SYSTEM, "committing"));
        let found = match tokio::time::timeout(PATIENCE, send).await {
            Ok(Ok(Ok(()))) => {
                self.writing.won.tenure.extend(sent);
                return Ok(());
            }
            // The guard, or a row that somebody else wrote: nothing of this is stored.
            Ok(Ok(Err(error))) if code(&error) == Some(DUPLICATE) => {
                return Err(StoreError::Deposed);
            }
            Ok(Ok(Err(error))) => describe(&self.settings, "committing", &error),
            // Nothing was sent yet, so this failure leaves nothing open.
            Ok(Err(error)) => return Err(error),
            Err(_) => failed(
                &self.settings,
                "committing",
                format!("no answer within {PATIENCE:?}"),
            ),
        };
        let resolved = tokio::time::timeout(PATIENCE, self.resolve(number, &found)).await;
        resolved.unwrap_or_else(|_| Err(unknown(&found)))
    }

    /// Finds out what came of a batch that wasn't answered with success: of a Galera cluster's errors, too, not
    /// every one says that nothing was stored. Raising the epoch waits until the transaction has ended if the
    /// server still works on it, and keeps it out if the server has yet to receive it.
    async fn resolve(&self, number: i64, found: &StoreError) -> Result<(), StoreError> {
        tracing::warn!(%found, "a commit failed; asking what came of it");
        let sent = Instant::now();
        let mut conn = loop {
            match connect(&self.settings, PATIENCE).await {
                Ok(conn) => break conn,
                // Bounded by the caller.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let epoch = self.writing.won.epoch();
        let raise = async {
            let mut transaction = conn.start_transaction(TxOpts::default()).await?;
            let raise = "UPDATE writer SET epoch = epoch + 1 WHERE epoch = ?";
            transaction.exec_drop(raise, (epoch,)).await?;
            let is_ours = transaction.affected_rows() == 1;
            let row = transaction.query_first("SELECT batch FROM writer").await?;
            transaction.commit().await?;
            let stored: Option<i64> = row.map(|row| column(&row, 0)).transpose()?;
            Ok::<_, Error>(stored.filter(|_| is_ours))
        };
        match raise.await {
            Ok(Some(stored)) => {
                self.writing.won.raise(epoch + 1);
                self.writing.won.tenure.extend(sent);
                if stored == number {
                    Ok(())
                } else {
                    Err(found.clone())
                }
            }
            // Somebody else has the term, so whether it was stored before that can't be told from its number.
            Ok(None) | Err(_) => Err(unknown(found)),
        }
    }
}

impl gathered::Committer for Committer {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.writing.commit(batch, self.store(batch))
    }

    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT value FROM log WHERE id = ?";
        let answer = self
            .writing
            .block_on(self.link.run("reading", sql, (row,)))?;
        let value = answer.rows.first().map(|row| blob(row, 0)).transpose();
        value.map_err(|error| describe(&self.settings, "reading", &error))
    }

    fn stale(&self, after: Row, revision: i64) -> Result<Vec<(Row, Bytes)>, StoreError> {
        let doing = "looking for old rows";
        let sql = "SELECT id, name FROM log WHERE id > ? AND revision < ? ORDER BY id LIMIT ?";
        let answer =
            self.writing
                .block_on(self.link.run(doing, sql, (after, revision, STALE_ROWS)))?;
        let rows = answer.rows.iter();
        let rows: Result<Vec<_>, Error> = rows
            .map(|row| Ok((column(row, 0)?, blob(row, 1)?)))
            .collect();
        rows.map_err(|error| describe(&self.settings, doing, &error))
    }
}

/// The statements that store a batch.
fn transaction(batch: &Batch, epoch: i64, batch_number: i64, applied: Row) -> Vec<Vec<u8>> {
    let mut statements = vec![
        b"START TRANSACTION".to_vec(),
        // Holds the row of the term until the end: a campaign waits for it, or came first and is seen here.
        format!(
            "UPDATE writer SET beat = beat + 1, applied = GREATEST(applied, {applied}), batch = {batch_number} \
             WHERE epoch = {epoch}"
        )
        .into_bytes(),
        // Where the term is somebody else's this row is there already, so the transaction ends here.
        format!(
            "INSERT INTO guard (id) SELECT 1 FROM DUAL \
             WHERE NOT EXISTS (SELECT 1 FROM writer WHERE epoch = {epoch})"
        )
        .into_bytes(),
    ];
    statements.extend(inserts(&batch.writes));
    statements.extend(leases(batch));
    if !batch.removed.is_empty() {
        statements.push(listed(
            "DELETE FROM log WHERE id IN (",
            batch.removed.iter().copied(),
        ));
    }
    if let Some(compacted) = batch.compacted {
        let sql = format!(
            "UPDATE meta SET value = GREATEST(value, {compacted}) WHERE name = 'compacted'"
        );
        statements.push(sql.into_bytes());
    }
    if let Some(alarms) = batch.alarms {
        let sql = format!(
            "INSERT INTO meta (name, value) VALUES ('alarms', {}) ON DUPLICATE KEY UPDATE value = VALUES(value)",
            alarms.to_bits()
        );
        statements.push(sql.into_bytes());
    }
    statements.push(b"COMMIT".to_vec());
    statements
}

/// Rows of the log, in statements of a bounded size.
fn inserts(writes: &[Write]) -> Vec<Vec<u8>> {
    let mut statements = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for write in writes {
        if open.len() > STATEMENT {
            statements.push(std::mem::take(&mut open));
        }
        if open.is_empty() {
            open.extend_from_slice(
                b"INSERT INTO log (id, revision, name, create_revision, version, lease, value) VALUES ",
            );
        } else {
            open.push(b',');
        }
        let version = &write.version;
        open.push(b'(');
        numbers(&mut open, [version.row, version.mod_revision]);
        open.push(b',');
        bytes(&mut open, &write.key);
        open.push(b',');
        numbers(
            &mut open,
            [version.create_revision, version.version, version.lease],
        );
        open.push(b',');
        bytes(&mut open, &write.value);
        open.push(b')');
    }
    if !open.is_empty() {
        statements.push(open);
    }
    statements
}

/// What becomes of leases.
fn leases(batch: &Batch) -> Vec<Vec<u8>> {
    let mut statements = Vec::new();
    if !batch.granted.is_empty() {
        let mut sql = b"INSERT INTO lease (id, ttl, deadline, owner) VALUES ".to_vec();
        separated(&mut sql, batch.granted.values(), |sql, lease| {
            sql.push(b'(');
            numbers(sql, [lease.id, lease.ttl, lease.deadline]);
            sql.push(b',');
            bytes(sql, lease.owner.as_bytes());
            sql.push(b')');
        });
        sql.extend_from_slice(
            b" ON DUPLICATE KEY UPDATE ttl = VALUES(ttl), deadline = VALUES(deadline), owner = VALUES(owner)",
        );
        statements.push(sql);
    }
    if !batch.renewed.is_empty() {
        let mut sql = b"UPDATE lease SET deadline = CASE id".to_vec();
        for (id, deadline) in &batch.renewed {
            sql.extend_from_slice(b" WHEN ");
            number(&mut sql, *id);
            sql.extend_from_slice(b" THEN ");
            number(&mut sql, *deadline);
        }
        sql.extend_from_slice(b" END WHERE id IN (");
        numbers(&mut sql, batch.renewed.keys().copied());
        sql.push(b')');
        statements.push(sql);
    }
    if !batch.ended.is_empty() {
        statements.push(listed(
            "DELETE FROM lease WHERE id IN (",
            batch.ended.iter().copied(),
        ));
    }
    statements
}

/// A statement that ends with a list of numbers.
fn listed(beginning: &str, ids: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let mut sql = beginning.as_bytes().to_vec();
    numbers(&mut sql, ids);
    sql.push(b')');
    sql
}
