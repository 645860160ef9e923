//! What the writer does when nobody asks for anything: it removes what a compaction dropped, and gives free space
//! back.

use super::{End, Writer};
use crate::domain::fault::Fault;
use crate::domain::version::Row;
use crate::store::StoreError;
use std::time::Duration;

/// Rows that a compaction removes in a transaction of its own.
const ROWS_ALONE: usize = 512;
/// How long tidying up waits for the log, and after a failure.
const PAUSE: Duration = Duration::from_millis(1);
const RETRY: Duration = Duration::from_millis(100);

impl Writer {
    /// Uses the time in which nobody asks for anything.
    pub(super) fn tidy(&mut self) -> Result<(), End> {
        if self.log.is_behind() {
            std::thread::sleep(PAUSE);
            return Ok(());
        }
        if self.compaction.is_active() {
            return self.remove_some();
        }
        if let Some(after) = self.sweep {
            self.sweep(after);
            return Ok(());
        }
        if !self.shrinking {
            return Ok(());
        }
        match self.log.shrink() {
            Ok(more) => self.shrinking = more,
            Err(error) => {
                self.shrinking = false;
                self.give_up_tidying("shrinking", &error);
            }
        }
        self.measure();
        Ok(())
    }

    fn remove_some(&mut self) -> Result<(), End> {
        let rows = self.compaction.take(ROWS_ALONE, &self.shared);
        if rows.is_empty() {
            return Ok(());
        }
        let removed = self
            .log
            .begin()
            .and_then(|()| self.log.remove(&rows))
            .and_then(|()| self.log.commit());
        match removed {
            Ok(()) => {
                // Before a compaction is answered, since the quota goes by it.
                self.measure();
                return Ok(());
            }
            Err(StoreError::Deposed) => return Err(End::Deposed),
            // Rows that are removed twice are gone as well, but the log is of no more use.
            Err(StoreError::Unknown { .. }) => return Err(End::Differs),
            Err(error) => self.give_up_tidying("compacting", &error),
        }
        self.compaction.put_back(rows);
        Ok(())
    }

    /// Finds rows that the index has forgotten and the log has not.
    fn sweep(&mut self, after: Row) {
        let compacted = self.shared.state().compacted;
        match self.log.stale(after, compacted) {
            Ok(found) => {
                self.sweep = found.last().map(|(row, _)| *row);
                let state = self.shared.state();
                let stale = found
                    .into_iter()
                    .filter(|(row, key)| !state.index.holds(key, *row));
                self.compaction
                    .put_back(stale.map(|(row, _)| row).collect());
            }
            Err(error) => self.give_up_tidying("looking for what a compaction left over", &error),
        }
    }

    /// Nothing is lost by it, but it must not be tried again at once.
    fn give_up_tidying(&self, doing: &str, error: &StoreError) {
        tracing::warn!(%error, "{doing} failed; it is tried again");
        if let Err(error) = self.log.rollback() {
            tracing::warn!(%error, "rolling back failed");
        }
        std::thread::sleep(RETRY);
    }

    /// One step of what somebody waits for, also when there is always something to commit.
    pub(super) fn defragment(&mut self) {
        if self.defragmentation.is_empty() || self.log.is_behind() {
            return;
        }
        let outcome = match self.log.shrink_wholly() {
            Ok(true) => return,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.measure();
        for (waiter, reply) in self.defragmentation.drain(..) {
            // A client that has gone needs no answer.
            let _ = waiter.send(outcome.clone().map(|()| reply).map_err(Fault::from));
        }
    }
}
