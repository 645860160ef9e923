//! Reading everything but values and leases into memory.

use super::error::{describe, failed, note};
use super::link::{SYSTEM, Session};
use super::settings::Settings;
use crate::domain::state::State;
use crate::domain::version::Version;
use crate::store::{Loaded, StoreError, span};
use bytes::Bytes;
use futures::{TryStreamExt, pin_mut};
use std::time::Duration;
use tokio_postgres::Error;
use tracing::Instrument;

/// How long the database may be silent while it sends the rows; sorting nothing, it begins at once.
const SILENCE: Duration = Duration::from_secs(30);

const META: &str = "SELECT (SELECT value FROM meta WHERE name = 'cluster_id'), \
                    (SELECT value FROM meta WHERE name = 'compacted'), applied, \
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM writer";
const ROWS: &str =
    "SELECT id, revision, key, create_revision, version, lease FROM log WHERE id <= $1 ORDER BY id";

/// Loads what the holder of the term has made visible, at one moment.
pub(super) async fn load(settings: &Settings, member_id: u64) -> Result<Loaded, StoreError> {
    // No limit for the statement: a large store takes its time.
    let session = Session::open(settings, Duration::ZERO).await?;
    let span = span::statement(SYSTEM, "loading", || [META, ROWS].join("; "));
    let loaded = try_load(&session).instrument(span.clone()).await;
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
async fn try_load(session: &Session) -> Result<(State, u64, i64), Option<Error>> {
    let client = &session.client;
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let meta = client.query_one(META, &[]).await?;
    let (cluster_id, compacted, applied): (i64, i64, i64) =
        (meta.try_get(0)?, meta.try_get(1)?, meta.try_get(2)?);
    let mut state = State::default();
    let rows = client.query_raw(ROWS, [applied]).await?;
    pin_mut!(rows);
    while let Some(row) = tokio::time::timeout(SILENCE, rows.try_next())
        .await
        .map_err(|_| None)??
    {
        let version = Version {
            row: row.try_get(0)?,
            mod_revision: row.try_get(1)?,
            create_revision: row.try_get(3)?,
            version: row.try_get(4)?,
            lease: row.try_get(5)?,
        };
        let key = Bytes::copy_from_slice(row.try_get(2)?);
        state.index.insert(&key, version);
        state.revision = version.mod_revision;
        state.next_row = version.row + 1;
    }
    client.batch_execute("COMMIT").await?;
    // The compaction may be of revisions that aren't visible yet.
    state.compacted = compacted.min(state.revision);
    Ok((state, cluster_id.cast_unsigned(), meta.try_get(3)?))
}
