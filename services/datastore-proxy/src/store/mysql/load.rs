//! Reading everything but values and leases into memory.

use super::error::{describe, failed, note};
use super::link::{SYSTEM, blob, column, connect};
use super::settings::Settings;
use crate::domain::state::State;
use crate::domain::version::Version;
use crate::store::{Loaded, StoreError, span};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IsolationLevel, Row, TxOpts};
use std::time::Duration;
use tracing::Instrument;

/// How long the database may be silent while it sends the rows; sorting nothing, it begins at once.
const SILENCE: Duration = Duration::from_secs(30);

const META: &str = "SELECT (SELECT value FROM meta WHERE name = 'cluster_id'), \
                    (SELECT value FROM meta WHERE name = 'compacted'), applied, \
                    CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED) FROM writer";
const ROWS: &str =
    "SELECT id, revision, name, create_revision, version, lease FROM log WHERE id <= ? ORDER BY id";

/// Loads what the holder of the term has made visible, at one moment.
pub(super) async fn load(settings: &Settings, member_id: u64) -> Result<Loaded, StoreError> {
    // No limit for the statement: a large store takes its time.
    let mut conn = connect(settings, Duration::ZERO).await?;
    let span = span::statement(SYSTEM, "loading", || [META, ROWS].join("; "));
    let loaded = try_load(&mut conn).instrument(span.clone()).await;
    let (state, cluster_id, now) = loaded.map_err(|error| match error {
        Some(error) => {
            note(&span, &error);
            describe(settings, "loading", &error)
        }
        None => {
            span::fail(&span, None, span::TIMEOUT);
            failed(settings, "loading", "no answer in time")
        }
    })?;
    Ok(Loaded {
        state,
        cluster_id,
        member_id,
        now: Some(now),
    })
}

/// `None`: the database fell silent.
async fn try_load(conn: &mut Conn) -> Result<(State, u64, i64), Option<Error>> {
    let mut one_moment = TxOpts::new();
    one_moment
        .with_consistent_snapshot(true)
        .with_isolation_level(IsolationLevel::RepeatableRead)
        .with_readonly(true);
    let mut transaction = conn.start_transaction(one_moment).await?;
    let meta: Option<Row> = transaction.query_first(META).await?;
    let meta = meta.ok_or_else(|| Error::from(DriverError::ConnectionClosed))?;
    let cluster_id: i64 = column(&meta, 0)?;
    let compacted: i64 = column(&meta, 1)?;
    let applied: i64 = column(&meta, 2)?;
    let mut state = State::default();
    let mut rows = transaction.exec_iter(ROWS, (applied,)).await?;
    while let Some(row) = tokio::time::timeout(SILENCE, rows.next())
        .await
        .map_err(|_| None)??
    {
        let version = version(&row)?;
        state.index.insert(&blob(&row, 2)?, version);
        state.revision = version.mod_revision;
        state.next_row = version.row + 1;
    }
    drop(rows);
    transaction.commit().await?;
    // The compaction may be of revisions that aren't visible yet.
    state.compacted = compacted.min(state.revision);
    Ok((state, cluster_id.cast_unsigned(), column(&meta, 3)?))
}

/// What became of a key, of a row that begins with `id, revision, name, create_revision, version, lease`.
pub(super) fn version(row: &Row) -> Result<Version, Error> {
    Ok(Version {
        row: column(row, 0)?,
        mod_revision: column(row, 1)?,
        create_revision: column(row, 3)?,
        version: column(row, 4)?,
        lease: column(row, 5)?,
    })
}
