//! Where the log is kept. A backend is an implementation of [`Log`] and [`Reader`], and of
//! [`replicated::Replicated`] if several replicas can share it.

pub mod batch;
pub mod gathered;
mod links;
pub mod mysql;
pub mod postgres;
pub mod replicated;
pub mod server;
mod span;
pub mod sqlite;
mod writing;

use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::state::{Changes, State, Write};
use crate::domain::version::{Row, Version};
use bytes::Bytes;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Why the backend failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The file is damaged, or not ours.
    #[error("{} can't be used: {found}; {advice}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        advice: String,
    },
    /// Another replica holds the term. Nothing was stored.
    #[error("another replica writes now: nothing was stored")]
    Deposed,
    /// This backend can't do it, and why.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Something else. Nothing was stored.
    #[error("{doing}: {found}")]
    Failed {
        /// What was tried.
        doing: String,
        /// What was found.
        found: String,
    },
    /// Another process has the file.
    #[error(
        "{} is held by another process: stop that one, or give this one a file of its own",
        .0.display()
    )]
    Locked(PathBuf),
    /// The disk, or its quota, is full.
    #[error("no space left for {}: free some, writes go on by themselves then", .0.display())]
    NoSpace(PathBuf),
    /// The database was lost while it stored something, and can't be asked what came of it.
    #[error("{doing}: {found}; whether it was done is unknown")]
    Unknown {
        /// What was tried.
        doing: String,
        /// What was found.
        found: String,
    },
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace(_) => Self::NoSpace,
            StoreError::Corrupt { .. } => Self::Corrupt,
            StoreError::Deposed => Self::LeaderChanged,
            StoreError::Unknown { .. } => Self::Timeout,
            StoreError::Unsupported(why) => Self::Unsupported(why),
            error => Self::Store(error.to_string()),
        }
    }
}

/// What a store holds when it is opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Everything but the values.
    pub state: State,
    /// Names the store for ever.
    pub cluster_id: u64,
    /// Names this member of it.
    pub member_id: u64,
    /// The database's clock, in milliseconds since 1970, where it has one that replicas share.
    pub now: Option<i64>,
}

/// How large the store is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// All of it.
    pub total: u64,
    /// What of it holds something.
    pub in_use: u64,
}

/// The writing side, owned by one thread. Writes happen between [`begin`](Self::begin) and
/// [`commit`](Self::commit) and survive a power cut once that has returned.
pub trait Log: Send {
    /// Opens a transaction.
    fn begin(&self) -> Result<(), StoreError>;
    /// Adds what one request changed, or on an error nothing of it.
    fn append(&self, changes: &Changes) -> Result<(), StoreError>;
    /// Removes rows that a compaction dropped.
    fn remove(&self, rows: &[Row]) -> Result<(), StoreError>;
    /// Whether the transaction is still open: some errors end it and undo all of it.
    fn is_open(&self) -> bool;
    /// Makes everything since `begin` durable and visible to readers.
    fn commit(&self) -> Result<(), StoreError>;
    /// Forgets everything since `begin`.
    fn rollback(&self) -> Result<(), StoreError>;
    /// The last row that is stored, 0 for none. Tells after a failed commit what came of it.
    fn last_row(&self) -> Result<Row, StoreError>;
    /// The value of a row, those of the open transaction included.
    fn value(&self, row: Row) -> Result<Option<Bytes>, StoreError>;
    /// Gives a little of the free space back to the file system; `true` while there is more to give.
    fn shrink(&self) -> Result<bool, StoreError>;
    /// The same without keeping anything for the writes to come.
    fn shrink_wholly(&self) -> Result<bool, StoreError> {
        self.shrink()
    }
    /// Whether work that can wait should: what was written last is still being put in its place.
    fn is_behind(&self) -> bool;
    /// How large the store is; `None` where it is measured elsewhere.
    fn size(&self) -> Result<Option<Size>, StoreError>;
    /// Some rows after `after` that a compaction below `revision` may have dropped, with their keys. Where another
    /// process may have begun that compaction, the index doesn't tell.
    fn stale(&self, after: Row, revision: i64) -> Result<Vec<(Row, Bytes)>, StoreError> {
        let _ = (after, revision);
        Ok(Vec::new())
    }
}

/// A write as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// Which key.
    pub key: Bytes,
    /// What became of it.
    pub version: Version,
    /// Its value.
    pub value: Bytes,
}

impl From<Logged> for Write {
    /// As it is written into another log: what was there before is in it already.
    fn from(logged: Logged) -> Self {
        Self {
            key: logged.key,
            version: logged.version,
            value: logged.value,
            previous: None,
        }
    }
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Writes of the range, in order, of whole revisions.
    pub writes: Vec<Logged>,
    /// Everything up to this revision is in it.
    pub through: i64,
    /// Revisions below this one were forgotten when it was read; 0 where the state in memory tells.
    pub compacted: i64,
}

/// The reading side: committed rows. Calls block; they are made where blocking is allowed.
pub trait Reader: Send + Sync {
    /// The values of rows, `None` for those that are gone.
    fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, StoreError>;
    /// Writes of `range` from revision `from` through at most `through`, as many as roughly fit into `bytes`.
    fn page(
        &self,
        range: &KeyRange,
        from: i64,
        through: i64,
        bytes: usize,
    ) -> Result<Page, StoreError>;
    /// A copy of the whole store as of one moment, in a file that is gone once it is closed. The writer goes on
    /// meanwhile.
    fn copy(&self) -> Result<File, StoreError> {
        Err(StoreError::Unsupported(
            "this backend makes no snapshots: use the database's own backup",
        ))
    }
}

/// Reads the keys of a store that was opened without them. Calls block.
pub trait Keys: Send + Sync {
    /// Adds the keys of `range` with all their versions to `state`, newer ones than its own included.
    fn load(&self, range: &KeyRange, state: &mut State) -> Result<(), StoreError>;
}

/// A store that is open.
pub struct Opened {
    /// What it holds.
    pub loaded: Loaded,
    /// Reads the keys, where there are so many that `loaded` is without them.
    pub keys: Option<Arc<dyn Keys>>,
    /// For the writer.
    pub log: Box<dyn Log>,
    /// For everybody else.
    pub reader: Arc<dyn Reader>,
}
