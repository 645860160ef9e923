//! What a database that several replicas share offers beside the log: the term, and the log as the others read it.

use super::{Loaded, Log, Logged, Reader, Size, StoreError};
use crate::domain::alarm::Alarms;
use crate::domain::election::{Tenure, Term};
use crate::domain::lease::Lease;
use crate::domain::version::Row;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A replica, as the others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its number, never 0. Made anew at each start.
    pub id: u64,
    /// Where the other replicas reach it.
    pub peer_address: String,
    /// Where etcd clients reach it.
    pub client_url: String,
}

/// A part of the log as replicas read it that don't write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    /// Rows in order, of whole revisions.
    pub writes: Vec<Logged>,
    /// Whether there are more.
    pub more: bool,
    /// Revisions below this one were forgotten, read after the rows.
    pub compacted: i64,
}

/// The term that a replica has won. Clones share it.
#[derive(Clone, Debug)]
pub struct Won {
    epoch: Arc<AtomicI64>,
    /// How long it may be trusted.
    pub tenure: Arc<Tenure>,
}

impl Won {
    /// The term with this epoch.
    pub fn new(epoch: i64, tenure: Arc<Tenure>) -> Self {
        Self {
            epoch: Arc::new(AtomicI64::new(epoch)),
            tenure,
        }
    }

    /// Its epoch, which rises where the holder has to shut out what it sent itself.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Goes on with another epoch.
    pub fn raise(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }
}

/// A database that arbitrates between replicas. Every call has a deadline of its own.
#[tonic::async_trait]
pub trait Replicated: Send + Sync {
    /// The term as it stands.
    async fn term(&self) -> Result<Term, StoreError>;
    /// Takes over if the row is still as it was `seen`.
    async fn campaign(&self, seen: &Term, candidate: &Member) -> Result<Option<Won>, StoreError>;
    /// A sign of life that says how far the readers of the holder see; `false` if the term is somebody else's.
    async fn beat(&self, won: &Won, applied: Row) -> Result<bool, StoreError>;
    /// Lets others take over at once.
    async fn resign(&self, won: &Won) -> Result<(), StoreError>;
    /// The writing side for a term, on a log that ends with `last_row`. It refuses to commit once the term is
    /// somebody else's.
    async fn log(&self, won: &Won, last_row: Row) -> Result<Box<dyn Log>, StoreError>;
    /// The reading side.
    fn reader(&self) -> Arc<dyn Reader>;
    /// Everything but values and leases, as far as the holder has made it visible.
    async fn load(&self) -> Result<Loaded, StoreError>;
    /// Rows of the revisions after `revision`, up to row `through`.
    async fn tail(&self, revision: i64, through: Row) -> Result<Tail, StoreError>;
    /// All leases.
    async fn leases(&self) -> Result<Vec<Lease>, StoreError>;
    /// The alarms.
    async fn alarms(&self) -> Result<Alarms, StoreError>;
    /// Has the database give free space back, beside everything else. Takes as long as it takes.
    async fn shrink(&self) -> Result<(), StoreError>;
    /// How large the store is.
    async fn size(&self) -> Result<Size, StoreError>;
    /// Says that a replica lives.
    async fn announce(&self, member: &Member) -> Result<(), StoreError>;
    /// Replicas that said so lately.
    async fn members(&self) -> Result<Vec<Member>, StoreError>;
    /// Marks the store as one that is being filled: nobody opens it until that has ended.
    async fn begin_filling(&self) -> Result<(), StoreError>;
    /// From now on it is whole.
    async fn end_filling(&self) -> Result<(), StoreError>;
}
