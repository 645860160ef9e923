//! A watch for this process itself: locks and elections wait for what becomes of keys.

use super::committed::{Change, Committed};
use super::hub::{CatchUp, Spec};
use super::outbox::{Out, Outbox};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::engine::Shared;
use std::sync::Arc;

/// A part of the log that is read at once.
const PAGE_BYTES: usize = 1 << 20;

/// Follows one range. Ends when dropped.
pub struct Follower {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    key: u64,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.hub.remove(self.key, false);
    }
}

impl Follower {
    /// Follows `range` from revision `from` on.
    pub fn new(shared: &Arc<Shared>, range: KeyRange, from: i64) -> Self {
        let outbox = Arc::new(Outbox::default());
        let spec = Spec {
            id: 0,
            range,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            fragment: false,
        };
        let key = shared.hub.add(&outbox, spec, from);
        Self {
            shared: Arc::clone(shared),
            outbox,
            key,
        }
    }

    /// Waits for the next changes, in order; never none. Fails if they were compacted before they were read.
    pub async fn next(&mut self) -> Result<Vec<Change>, Fault> {
        loop {
            let changes = match self.outbox.pop() {
                Some(Out::Events {
                    committed, picked, ..
                }) => picked_of(&committed, &picked),
                Some(_) => Vec::new(),
                None => match self.outbox.next_lagging() {
                    Some(_) => self.catch_up().await?,
                    None => {
                        self.outbox.changed().await;
                        Vec::new()
                    }
                },
            };
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    async fn catch_up(&self) -> Result<Vec<Change>, Fault> {
        let shared = &self.shared;
        match shared.hub.catch_up(self.key) {
            CatchUp::Nothing => Ok(Vec::new()),
            CatchUp::Send {
                from, revisions, ..
            } => {
                self.check(from)?;
                let changes = revisions
                    .iter()
                    .flat_map(|(committed, picked)| picked_of(committed, picked));
                Ok(changes.collect())
            }
            CatchUp::Read {
                spec,
                from,
                through,
            } => {
                let page = shared.page(spec.range.clone(), from, through, PAGE_BYTES);
                let page = page.await?;
                // Looked at after reading: before, rows could still have gone missing.
                self.check(from)?;
                shared.hub.advance(self.key, page.through);
                let change = |logged: crate::store::Logged| {
                    Change::of(logged.key, &logged.version, logged.value, None)
                };
                Ok(page.writes.into_iter().map(change).collect())
            }
        }
    }

    fn check(&self, from: i64) -> Result<(), Fault> {
        if from < self.shared.state().compacted {
            return Err(Fault::Compacted);
        }
        Ok(())
    }
}

fn picked_of(committed: &Committed, picked: &[usize]) -> Vec<Change> {
    let changes = picked.iter().filter_map(|at| committed.changes.get(*at));
    changes.cloned().collect()
}
