//! Forgetting old versions a little at a time: first in the index, then in the log.

use super::Shared;
use crate::domain::fault::Fault;
use crate::domain::version::Row;
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::sync::oneshot;

use super::Reply;

/// Keys of the index looked at in one step: the readers wait so long.
const KEYS: usize = 512;

/// Who waits until the rows are gone.
pub(super) type Waiter = oneshot::Sender<Result<Reply, Fault>>;

/// The compaction that is under way.
#[derive(Default)]
pub(crate) struct Compaction {
    /// Where the walk over the index goes on, `None` when there is nothing to do.
    walk: Option<Walk>,
    rows: VecDeque<Row>,
    waiters: Vec<(Waiter, Reply)>,
}

struct Walk {
    revision: i64,
    from: Bytes,
}

impl Compaction {
    /// Begins, or begins again with a newer revision.
    pub(crate) fn start(&mut self, revision: i64) {
        self.walk = Some(Walk {
            revision,
            from: Bytes::new(),
        });
    }

    /// Answers `waiter` with `reply` when all is gone.
    pub(super) fn wait(&mut self, waiter: Waiter, reply: Reply) {
        self.waiters.push((waiter, reply));
    }

    /// Whether there is something to do.
    pub(crate) fn is_active(&self) -> bool {
        self.walk.is_some() || !self.rows.is_empty()
    }

    /// At most `limit` rows to remove from the log; walks the index when it has none.
    pub(crate) fn take(&mut self, limit: usize, shared: &Shared) -> Vec<Row> {
        if self.rows.is_empty()
            && let Some(walk) = self.walk.take()
        {
            let step = shared
                .state_mut()
                .index
                .compact(&walk.from, KEYS, walk.revision);
            shared.cache.remove(step.dropped.iter().copied());
            self.rows.extend(step.dropped);
            self.walk = step.next.map(|from| Walk { from, ..walk });
        }
        let count = limit.min(self.rows.len());
        self.rows.drain(..count).collect()
    }

    /// Takes rows back that could not be removed.
    pub(super) fn put_back(&mut self, rows: Vec<Row>) {
        rows.into_iter()
            .rev()
            .for_each(|row| self.rows.push_front(row));
    }

    /// Answers those who wait, once nothing is left to do.
    pub(super) fn settle(&mut self) {
        if !self.is_active() {
            for (waiter, reply) in self.waiters.drain(..) {
                // A client that has gone needs no answer.
                let _ = waiter.send(Ok(reply));
            }
        }
    }
}
