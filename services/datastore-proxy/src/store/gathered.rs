//! A log that keeps a transaction in memory until it is committed: for databases where every statement is a trip
//! over the network.

use super::batch::Batch;
use super::{Log, Size, StoreError};
use crate::domain::state::Changes;
use crate::domain::version::Row;
use bytes::Bytes;
use std::cell::{Cell, RefCell};

/// Stores whole batches.
pub trait Committer: Send {
    /// Stores all of `batch` or nothing of it. After [`StoreError::Unknown`] and [`StoreError::Deposed`] the
    /// committer is of no more use.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;
    /// The value of a stored row.
    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError>;
    /// Some rows after `after` that a compaction below `revision` may have dropped, with their keys.
    fn stale(&self, after: Row, revision: i64) -> Result<Vec<(Row, Bytes)>, StoreError>;
}

/// The log over a [`Committer`].
pub struct Gathered<C> {
    committer: C,
    open: RefCell<Option<Batch>>,
    last_row: Cell<Row>,
}

impl<C> Gathered<C> {
    /// A log whose last row is `last_row`.
    pub fn new(committer: C, last_row: Row) -> Self {
        Self {
            committer,
            open: RefCell::default(),
            last_row: Cell::new(last_row),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Batch)) -> Result<(), StoreError> {
        match self.open.borrow_mut().as_mut() {
            Some(batch) => {
                change(batch);
                Ok(())
            }
            None => Err(StoreError::Failed {
                doing: "writing".into(),
                found: "no transaction is open".into(),
            }),
        }
    }
}

impl<C: Committer> Log for Gathered<C> {
    fn begin(&self) -> Result<(), StoreError> {
        self.open.replace(Some(Batch::default()));
        Ok(())
    }

    fn append(&self, changes: &Changes) -> Result<(), StoreError> {
        self.change(|batch| batch.add(changes))
    }

    fn remove(&self, rows: &[Row]) -> Result<(), StoreError> {
        self.change(|batch| batch.removed.extend(rows))
    }

    fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    fn commit(&self) -> Result<(), StoreError> {
        let batch = self.open.take().unwrap_or_default();
        self.committer.commit(&batch)?;
        self.last_row
            .set(batch.last_row().unwrap_or(self.last_row.get()));
        Ok(())
    }

    fn rollback(&self) -> Result<(), StoreError> {
        self.open.take();
        Ok(())
    }

    fn last_row(&self) -> Result<Row, StoreError> {
        Ok(self.last_row.get())
    }

    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError> {
        self.committer.value(row)
    }

    fn stale(&self, after: Row, revision: i64) -> Result<Vec<(Row, Bytes)>, StoreError> {
        self.committer.stale(after, revision)
    }

    fn shrink(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn is_behind(&self) -> bool {
        false
    }

    fn size(&self) -> Result<Option<Size>, StoreError> {
        Ok(None)
    }
}
