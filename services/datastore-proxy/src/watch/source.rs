//! What a watch stream needs of a backend: the present from a hub, the past from a log.

use super::committed::Change;
use super::hub::Hub;
use crate::domain::range::KeyRange;
use crate::domain::version::Row;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb::ResponseHeader;
use std::future::Future;
use std::time::Duration;
use tonic::Status;

/// A backend as watch streams see it. Cheap to clone.
pub trait Source: Clone + Send + Sync + 'static {
    /// Reads what a watch has missed.
    type Past: Past;

    /// How long a client may leave its answers lying before its stream is ended; `None`: as long as it likes,
    /// since its watches hold nothing but their places in the log.
    const PATIENCE: Option<Duration>;

    /// The present.
    fn hub(&self) -> &Hub;

    /// The header of an answer at `revision`.
    fn header(&self, revision: i64) -> ResponseHeader;

    /// Watches that would have to read from before this revision are canceled.
    fn compacted(&self) -> i64;

    /// The newest revision, whether the hub has it yet or not.
    fn newest(&self) -> impl Future<Output = Result<i64, Status>> + Send;

    /// Resolves once the hub has what was there at the call, or when there is no hope of it for now.
    fn fresh(&self) -> impl Future<Output = ()> + Send + 'static;

    /// Resolves when watches are better served by another replica, with the reason.
    fn lost(&self) -> impl Future<Output = Status> + Send;

    /// A reader of changes of `range` from revision `from` on.
    fn past(&self, range: &KeyRange, from: i64) -> Self::Past;

    /// Values that changes left out, `None` for those that are gone.
    fn values(
        &self,
        rows: &[Row],
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, Status>> + Send;

    /// Records how many watches there are.
    fn measure(&self);
}

/// Reads what a watch has missed, in order.
pub trait Past: Send {
    /// Whole revisions up to at most about `through`, as many as make a fair answer.
    fn next(&mut self, through: i64) -> impl Future<Output = Result<Piece, PastError>> + Send;
}

/// A piece of the past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Changes of the range, in order.
    pub changes: Vec<Change>,
    /// Everything up to this revision is in it.
    pub through: i64,
}

/// Why the past can't be read.
#[derive(Debug)]
pub enum PastError {
    /// Revisions before this one are forgotten.
    Compacted(i64),
    /// Reading failed.
    Failed(Status),
}

impl From<Status> for PastError {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}
