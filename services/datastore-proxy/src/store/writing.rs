//! What a writer on a database server keeps count of during its term.

use super::StoreError;
use super::batch::Batch;
use super::replicated::Won;
use crate::domain::version::Row;
use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;

/// A term with its batches. The writer is a thread, what it waits for belongs to `runtime`.
pub(super) struct Writing {
    /// The term.
    pub(super) won: Won,
    runtime: Handle,
    /// Numbers the batches of the term.
    batch: AtomicI64,
    /// The last row whose batch is known to be stored: the readers here see it before the next commit.
    applied: AtomicI64,
}

impl Writing {
    /// On a log that ends with `last_row`.
    pub(super) fn new(won: &Won, last_row: Row, runtime: Handle) -> Self {
        Self {
            won: won.clone(),
            runtime,
            batch: AtomicI64::new(0),
            applied: AtomicI64::new(last_row),
        }
    }

    /// A number for the next batch, and the last row that readers may see.
    pub(super) fn next(&self) -> (i64, Row) {
        let number = self.batch.fetch_add(1, Ordering::Relaxed) + 1;
        (number, self.applied.load(Ordering::Relaxed))
    }

    /// Has `batch` stored by `store`, if there is a need.
    pub(super) fn commit(
        &self,
        batch: &Batch,
        store: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        // What was only read is right as long as nobody else can have written.
        if batch.is_empty() && self.won.tenure.is_valid(Instant::now()) {
            return Ok(());
        }
        self.block_on(store)?;
        if let Some(row) = batch.last_row() {
            self.applied.store(row, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for `work`.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// The database can't be asked what came of a batch.
pub(super) fn unknown(found: impl Display) -> StoreError {
    StoreError::Unknown {
        doing: "committing".to_owned(),
        found: found.to_string(),
    }
}
