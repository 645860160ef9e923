//! Following what the writer commits: it sends each commit once its own readers see it. What was missed is read
//! from the database, up to the row that the writer has shown.

use super::{PeerChannel, Replicas};
use crate::domain::replay::{Logged, replay};
use crate::domain::state::Changes;
use crate::domain::version::{Row, Version};
use crate::engine::compaction::Compaction;
use crate::store::StoreError;
use sextant_kit::backoff::Backoff;
use sextant_proto::datastore as pb;
use sextant_proto::datastore::replica_client::ReplicaClient;
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;

/// A writer that says nothing for so long is tried anew.
const SILENCE: Duration = Duration::from_secs(3);
/// Rows of a compaction that are forgotten before others get a turn.
const ROWS: usize = 4096;
/// A state that was loaded may lack rows that were compacted meanwhile, but hardly so often in a row.
const TRIES: usize = 5;
/// Commits may be large.
const MAX_MESSAGE: usize = 64 << 20;

/// Follows for ever. `applied` is the row that the writer has shown, as the database tells it.
pub(super) async fn follow(
    replicas: &Replicas,
    client: ReplicaClient<PeerChannel>,
    applied: watch::Receiver<Row>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match follow_once(replicas, client.clone(), &mut backoff).await {
            Ok(()) => tracing::info!("the writer ended the stream of its commits"),
            Err(status) => {
                tracing::warn!(%status, "following the writer failed; it is tried again")
            }
        }
        tokio::time::sleep(backoff.next()).await;
        let through = *applied.borrow();
        if let Err(error) = catch_up(replicas, through).await {
            tracing::warn!(%error, "reading the log failed; it is tried again");
        }
    }
}

async fn follow_once(
    replicas: &Replicas,
    client: ReplicaClient<PeerChannel>,
    backoff: &mut Backoff,
) -> Result<(), Status> {
    let silent = |_| Status::deadline_exceeded(format!("no word for {SILENCE:?}"));
    let mut client = client.max_decoding_message_size(MAX_MESSAGE);
    let opened = tokio::time::timeout(SILENCE, client.follow(pb::FollowRequest {})).await;
    let mut commits = opened.map_err(silent)??.into_inner();
    while let Some(commit) = tokio::time::timeout(SILENCE, commits.message())
        .await
        .map_err(silent)??
    {
        backoff.reset();
        apply(replicas, commit)
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
    }
    Ok(())
}

async fn apply(replicas: &Replicas, commit: pb::FollowResponse) -> Result<(), StoreError> {
    let pb::FollowResponse {
        first_row,
        writes,
        compacted,
    } = commit;
    if first_row > replicas.shared.state().next_row {
        catch_up(replicas, first_row - 1).await?;
    }
    let rows = (first_row..)
        .zip(writes)
        .map(|(row, write)| logged(row, write));
    show(replicas, rows)?;
    forget(replicas, compacted).await;
    Ok(())
}

/// Reads the log from where this replica is up to `through`, or up to its end if that comes first.
pub(super) async fn catch_up(replicas: &Replicas, through: Row) -> Result<(), StoreError> {
    let shared = &replicas.shared;
    let mut reloads = 0;
    loop {
        let (revision, next_row) = {
            let state = shared.state();
            (state.revision, state.next_row)
        };
        if next_row > through {
            return Ok(());
        }
        let tail = replicas.database.tail(revision, through).await?;
        let (more, compacted) = (tail.more, tail.compacted);
        let rows = tail
            .writes
            .into_iter()
            .map(|logged| (logged.key, logged.version, logged.value));
        let is_whole = show(replicas, rows).is_ok();
        let is_there = more || through == Row::MAX || shared.state().next_row > through;
        if is_whole && is_there {
            forget(replicas, compacted).await;
            if !more {
                return Ok(());
            }
            continue;
        }
        // What is missing was compacted.
        reloads += 1;
        if reloads > TRIES {
            return Err(StoreError::Failed {
                doing: format!("reading the log from row {next_row} to {through}"),
                found: "rows are missing that no compaction explains".into(),
            });
        }
        reload(replicas).await?;
    }
}

/// Loads the whole store again.
async fn reload(replicas: &Replicas) -> Result<(), StoreError> {
    let state = replicas.database.load().await?.state;
    let (loaded, here) = (state.revision, replicas.shared.state().revision);
    tracing::info!(
        from = here,
        to = loaded,
        "loaded again: what was missed was compacted"
    );
    if loaded < here {
        return Err(StoreError::Failed {
            doing: "loading the store again".into(),
            found: format!(
                "the writer has shown revision {loaded} so far, and this replica {here}"
            ),
        });
    }
    replicas.shared.replace(state);
    Ok(())
}

/// Makes rows visible. Several revisions at once, as they were committed.
fn show(replicas: &Replicas, rows: impl Iterator<Item = Logged>) -> Result<(), StoreError> {
    let changes = replay(&replicas.shared.state(), rows);
    let changes = changes.map_err(|gap| StoreError::Failed {
        doing: "following the log".into(),
        found: format!("row {} comes where {} should", gap.found, gap.expected),
    })?;
    if !changes.is_empty() {
        replicas.shared.publish(&changes);
    }
    Ok(())
}

/// Forgets what the writer has forgotten.
async fn forget(replicas: &Replicas, compacted: i64) {
    let shared = &replicas.shared;
    let revision = {
        let state = shared.state();
        let revision = compacted.min(state.revision);
        if revision <= state.compacted.max(0) {
            return;
        }
        revision
    };
    shared.publish(&[Changes {
        compacted: Some(revision),
        ..Changes::default()
    }]);
    let mut compaction = Compaction::default();
    compaction.start(revision);
    while compaction.is_active() {
        // The writer removes them from the log.
        compaction.take(ROWS, shared);
        tokio::task::yield_now().await;
    }
}

fn logged(row: Row, write: pb::Write) -> Logged {
    let version = Version {
        row,
        mod_revision: write.mod_revision,
        create_revision: write.create_revision,
        version: write.version,
        lease: write.lease,
    };
    (write.key, version, write.value)
}
