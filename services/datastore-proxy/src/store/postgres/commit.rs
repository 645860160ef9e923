//! Storing batches: one statement each, so one trip, which checks the term before anything else.

use super::error::{describe, failed, is_lost, note};
use super::link::{DEADLINE, Link, Parameters, SYSTEM, Session};
use super::settings::Settings;
use crate::domain::alarm::Alarms;
use crate::domain::version::Row;
use crate::store::batch::Batch;
use crate::store::replicated::Won;
use crate::store::writing::{Writing, unknown};
use crate::store::{StoreError, gathered, span};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::Instrument;

/// How long the database may take to store a batch before it is asked whether it did.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows per look for what a compaction left over.
const STALE_ROWS: i64 = 1000;

/// `fence` holds the row of the term until the end, and where the epoch is another one it is empty: then nothing
/// else has a row to work on. A campaign waits for the row, or comes first and is seen here.
const COMMIT: &str = "
    WITH fence AS (
        UPDATE writer SET beat = beat + 1, applied = greatest(applied, $3), batch = $2
        WHERE epoch = $1 RETURNING epoch
    ), written AS (
        INSERT INTO log (id, revision, key, create_revision, version, lease, value)
        SELECT w.* FROM fence, unnest($4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bytea[]) AS w
    ), granted AS (
        INSERT INTO lease (id, ttl, deadline, owner)
        SELECT g.* FROM fence, unnest($11::bigint[], $12::bigint[], $13::bigint[], $14::text[]) AS g
        ON CONFLICT (id) DO UPDATE
        SET ttl = excluded.ttl, deadline = excluded.deadline, owner = excluded.owner
    ), renewed AS (
        UPDATE lease SET deadline = r.deadline
        FROM fence, unnest($15::bigint[], $16::bigint[]) AS r (id, deadline) WHERE lease.id = r.id
    ), ended AS (
        DELETE FROM lease USING fence WHERE lease.id = ANY ($17::bigint[])
    ), removed AS (
        DELETE FROM log USING fence WHERE log.id = ANY ($18::bigint[])
    ), compacted AS (
        UPDATE meta SET value = $19 FROM fence WHERE name = 'compacted' AND value < $19
    ), alarmed AS (
        INSERT INTO meta (name, value) SELECT 'alarms', $20::bigint FROM fence WHERE $20::bigint IS NOT NULL
        ON CONFLICT (name) DO UPDATE SET value = excluded.value
    )
    SELECT count(*) FROM fence";

/// What came of a batch.
enum Outcome {
    Stored,
    /// The term is somebody else's.
    Fenced,
    Refused(StoreError),
    /// The connection was lost meanwhile.
    Lost(String),
}

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

    async fn store(&self, batch: &Batch) -> Result<(), StoreError> {
        let sent = Instant::now();
        // Nothing was sent yet, so this failure leaves nothing open.
        let session = self.link.session().await?;
        let (number, applied) = self.writing.next();
        let span = span::statement(SYSTEM, "committing", || COMMIT);
        let execute = execute(&session, batch, self.writing.won.epoch(), number, applied)
            .instrument(span.clone());
        let outcome = match tokio::time::timeout(PATIENCE, execute).await {
            Ok(Ok(true)) => Outcome::Stored,
            Ok(Ok(false)) => Outcome::Fenced,
            Ok(Err(error)) => {
                note(&span, &error);
                let told = describe(&self.settings, "committing", &error);
                match is_lost(&error) {
                    true => Outcome::Lost(told.to_string()),
                    false => Outcome::Refused(told),
                }
            }
            Err(_) => {
                span::fail(&span, None, span::TIMEOUT);
                Outcome::Lost(format!("no answer within {PATIENCE:?}"))
            }
        };
        // What comes of it now is no part of the statement.
        drop(span);
        match outcome {
            Outcome::Stored => {
                self.writing.won.tenure.extend(sent);
                Ok(())
            }
            Outcome::Fenced => Err(StoreError::Deposed),
            Outcome::Refused(error) => Err(error),
            Outcome::Lost(found) => {
                self.link.forget(&session).await;
                let resolved = tokio::time::timeout(PATIENCE, self.resolve(number, &found)).await;
                resolved.unwrap_or_else(|_| Err(unknown(found)))
            }
        }
    }

    /// Finds out what came of a batch whose connection was lost. Raising the epoch waits until the statement has
    /// ended if the server still works on it, and keeps it out if the server has yet to receive it.
    async fn resolve(&self, number: i64, found: &str) -> Result<(), StoreError> {
        tracing::warn!(
            found,
            "a commit lost its connection; asking what came of it"
        );
        let sql = "UPDATE writer SET epoch = epoch + 1 WHERE epoch = $1 RETURNING epoch, batch";
        let sent = Instant::now();
        let epoch = self.writing.won.epoch();
        let session = loop {
            match self.link.session().await {
                Ok(session) => break session,
                // Bounded by the caller.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let span = span::statement(SYSTEM, "asking what came of it", || sql);
        let raise = async {
            let statement = session.prepare(sql).await?;
            session.client.query_opt(&statement, &[&epoch]).await
        };
        let raised = raise.instrument(span.clone()).await;
        match raised.inspect_err(|error| note(&span, error)) {
            Ok(Some(row)) => {
                self.writing.won.raise(row.get(0));
                self.writing.won.tenure.extend(sent);
                if row.get::<_, i64>(1) == number {
                    return Ok(());
                }
                Err(failed(&self.settings, "committing", found))
            }
            // Somebody else has the term, so whether it was stored before that can't be told from its number.
            Ok(None) | Err(_) => Err(unknown(found.to_owned())),
        }
    }
}

impl gathered::Committer for Committer {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.writing.commit(batch, self.store(batch))
    }

    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT value FROM log WHERE id = $1";
        let rows = self
            .writing
            .block_on(self.link.query("reading", sql, &[&row]))?;
        Ok(rows
            .first()
            .map(|row| Bytes::copy_from_slice(row.get::<_, &[u8]>(0))))
    }

    fn stale(&self, after: Row, revision: i64) -> Result<Vec<(Row, Bytes)>, StoreError> {
        let sql = "SELECT id, key FROM log WHERE id > $1 AND revision < $2 ORDER BY id LIMIT $3";
        let parameters: Parameters<'_> = &[&after, &revision, &STALE_ROWS];
        let rows =
            self.writing
                .block_on(self.link.query("looking for old rows", sql, parameters))?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), Bytes::copy_from_slice(row.get::<_, &[u8]>(1))))
            .collect())
    }
}

/// Sends the batch; `false` if the fence was down.
async fn execute(
    session: &Session,
    batch: &Batch,
    epoch: i64,
    number: i64,
    applied: Row,
) -> Result<bool, tokio_postgres::Error> {
    let writes = &batch.writes;
    let numbers = |pick: fn(&crate::domain::version::Version) -> i64| -> Vec<i64> {
        writes.iter().map(|write| pick(&write.version)).collect()
    };
    let keys: Vec<&[u8]> = writes.iter().map(|write| write.key.as_ref()).collect();
    let values: Vec<&[u8]> = writes.iter().map(|write| write.value.as_ref()).collect();
    let granted = || batch.granted.values();
    let owners: Vec<&str> = granted().map(|lease| lease.owner.as_str()).collect();
    let statement = session.prepare(COMMIT).await?;
    let row = session
        .client
        .query_one(
            &statement,
            &[
                &epoch,
                &number,
                &applied,
                &numbers(|version| version.row),
                &numbers(|version| version.mod_revision),
                &keys,
                &numbers(|version| version.create_revision),
                &numbers(|version| version.version),
                &numbers(|version| version.lease),
                &values,
                &granted().map(|lease| lease.id).collect::<Vec<_>>(),
                &granted().map(|lease| lease.ttl).collect::<Vec<_>>(),
                &granted().map(|lease| lease.deadline).collect::<Vec<_>>(),
                &owners,
                &batch.renewed.keys().copied().collect::<Vec<_>>(),
                &batch.renewed.values().copied().collect::<Vec<_>>(),
                &batch.ended.iter().copied().collect::<Vec<_>>(),
                &batch.removed,
                &batch.compacted.unwrap_or(i64::MIN),
                &batch.alarms.map(Alarms::to_bits),
            ],
        )
        .await?;
    Ok(row.get::<_, i64>(0) == 1)
}

impl Committer {
    /// Connects and prepares, so that the first batch doesn't wait for it.
    pub(super) async fn connect(&self) -> Result<(), StoreError> {
        let session = self.link.session().await?;
        match tokio::time::timeout(DEADLINE, session.prepare(COMMIT)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(describe(&self.settings, "preparing", &error)),
            Err(_) => Err(failed(&self.settings, "preparing", "no answer in time")),
        }
    }
}
