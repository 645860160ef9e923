//! Storing batches: one transaction each, sent as text in one packet unless it is very large, so that it doesn't wait
//! for us half done while it holds the row of the term. It checks the term before anything else.

use super::error::{DUPLICATE, code, describe, failed, note};
use super::link::{Link, SYSTEM, blob, column, connect};
use super::settings::Settings;
use super::transaction::{packets, shown, transaction};
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
        let span = span::statement(SYSTEM, "committing", || shown(&statements));
        let send = self
            .link
            .send(packets(statements, PACKET))
            .instrument(span.clone());
        let found = match tokio::time::timeout(PATIENCE, send).await {
            Ok(Ok(Ok(()))) => {
                self.writing.won.tenure.extend(sent);
                return Ok(());
            }
            Ok(Ok(Err(error))) => {
                note(&span, &error);
                if code(&error) == Some(DUPLICATE) {
                    // The guard, or a row that somebody else wrote: nothing of this is stored.
                    return Err(StoreError::Deposed);
                }
                describe(&self.settings, "committing", &error)
            }
            Ok(Err(error)) => {
                span::fail(&span, None, span::CONNECTION);
                // Nothing was sent yet, so this failure leaves nothing open.
                return Err(error);
            }
            Err(_) => {
                span::fail(&span, None, span::TIMEOUT);
                let found = format!("no answer within {PATIENCE:?}");
                failed(&self.settings, "committing", found)
            }
        };
        // What comes of it now is no part of the statement.
        drop(span);
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
        let (raise, batch) = (
            "UPDATE writer SET epoch = epoch + 1 WHERE epoch = ?",
            "SELECT batch FROM writer",
        );
        let doing = "asking what came of it";
        let span = span::statement(SYSTEM, doing, || [raise, batch].join("; "));
        let raise = async {
            let mut transaction = conn.start_transaction(TxOpts::default()).await?;
            transaction.exec_drop(raise, (epoch,)).await?;
            let is_ours = transaction.affected_rows() == 1;
            let row = transaction.query_first(batch).await?;
            transaction.commit().await?;
            let stored: Option<i64> = row.map(|row| column(&row, 0)).transpose()?;
            Ok::<_, Error>(stored.filter(|_| is_ours))
        };
        let raised = raise.instrument(span.clone()).await;
        match raised.inspect_err(|error| note(&span, error)) {
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
