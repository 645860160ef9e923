//! What one watch stream has to send, in order and within bounds.

use super::committed::Committed;
use super::hub::Spec;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A stream that has more than this waiting reads the rest from the log when it gets there.
const MAX_BYTES: usize = 4 << 20;
/// So many answers at most.
const MAX_ANSWERS: usize = 2048;

/// Something to send.
#[derive(Clone, Debug)]
pub enum Out {
    /// A watch was canceled by its client.
    Canceled {
        /// Which, in the client's numbers.
        id: i64,
        /// The newest revision then.
        revision: i64,
    },
    /// A watch was made.
    Created {
        /// Which, in the client's numbers.
        id: i64,
        /// The newest revision then.
        revision: i64,
    },
    /// A watch has changes of one revision.
    Events {
        /// Which.
        spec: Arc<Spec>,
        /// The revision.
        committed: Arc<Committed>,
        /// Which of its changes.
        picked: Vec<usize>,
    },
    /// Everything up to `revision` was said before.
    Progress {
        /// On behalf of which watch, -1 for all of the stream.
        id: i64,
        /// The revision.
        revision: i64,
    },
}

/// The queue of one stream, between the hub and the task that sends.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    out: VecDeque<Out>,
    bytes: usize,
    /// Watches that have to read from the log, by the hub's numbers.
    lagging: VecDeque<u64>,
}

impl Outbox {
    /// Queues something small that must be said.
    pub(super) fn push(&self, out: Out) {
        self.lock().out.push_back(out);
        self.wake.notify_one();
    }

    /// Queues changes; `false`: there is no room, and the watch is on the list of those that lag.
    pub(super) fn push_events(
        &self,
        key: u64,
        spec: &Arc<Spec>,
        committed: &Arc<Committed>,
        picked: Vec<usize>,
    ) -> bool {
        let size: usize = picked
            .iter()
            .filter_map(|at| committed.changes.get(*at))
            .map(|c| c.size())
            .sum();
        let mut queue = self.lock();
        // The first one always fits, however large.
        let full =
            queue.out.len() >= MAX_ANSWERS || queue.bytes > 0 && queue.bytes + size > MAX_BYTES;
        if full {
            queue.lagging.push_back(key);
        } else {
            queue.bytes += size;
            queue.out.push_back(Out::Events {
                spec: Arc::clone(spec),
                committed: Arc::clone(committed),
                picked,
            });
        }
        drop(queue);
        self.wake.notify_one();
        !full
    }

    /// Puts a watch on the list of those that lag.
    pub fn lag(&self, key: u64) {
        self.lock().lagging.push_back(key);
        self.wake.notify_one();
    }

    /// The next thing to send.
    pub fn pop(&self) -> Option<Out> {
        let mut queue = self.lock();
        let out = queue.out.pop_front()?;
        if let Out::Events {
            committed, picked, ..
        } = &out
        {
            let changes = picked.iter().filter_map(|at| committed.changes.get(*at));
            queue.bytes -= changes.map(|change| change.size()).sum::<usize>();
        }
        Some(out)
    }

    /// The next watch that has to read from the log.
    pub fn next_lagging(&self) -> Option<u64> {
        self.lock().lagging.pop_front()
    }

    /// Resolves when something was queued since the last time.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
