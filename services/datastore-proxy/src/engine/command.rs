//! What the writer is asked.

use crate::domain::alarm::Alarm;
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::domain::request::{Op, Txn, TxnAnswer};
use bytes::Bytes;
use tokio::sync::oneshot;

/// Something that only the writer can do.
#[derive(Clone, Debug)]
pub enum Request {
    /// Raise or clear an alarm.
    Alarm {
        /// Which.
        alarm: Alarm,
        /// Whether it is raised.
        raised: bool,
    },
    /// Forget revisions below this one.
    Compact {
        /// Which.
        revision: i64,
        /// Answer only when the rows are gone.
        physical: bool,
    },
    /// Give all free space back; answered when that is done.
    Defragment,
    /// End a lease if its time is over.
    Expire {
        /// Which.
        id: i64,
    },
    /// Make a lease.
    Grant {
        /// Its number.
        id: i64,
        /// Seconds.
        ttl: i64,
    },
    /// Renew a lease.
    Renew {
        /// Which.
        id: i64,
    },
    /// End a lease.
    Revoke {
        /// Which.
        id: i64,
    },
    /// A transaction, or a single put or deletion as one.
    Txn(Txn),
}

impl Request {
    /// About how many bytes it writes at most.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Txn(txn) => txn_size(txn),
            _ => 0,
        }
    }
}

fn txn_size(txn: &Txn) -> usize {
    let ops = txn.success.iter().chain(&txn.failure);
    ops.map(|op| match op {
        Op::Put(put) => put.key.len() + put.value.as_ref().map_or(0, Bytes::len),
        Op::Txn(nested) => txn_size(nested),
        Op::Delete(_) | Op::Range(_) => 0,
    })
    .sum()
}

/// What the writer answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done, at this revision.
    Done {
        /// The revision.
        revision: i64,
    },
    /// A lease was made or renewed.
    Lease {
        /// The revision.
        revision: i64,
        /// Seconds it has.
        ttl: i64,
    },
    /// The answer to a transaction.
    Txn(TxnAnswer),
}

/// A request on its way.
pub struct Command {
    pub(super) request: Request,
    pub(super) caller: Caller,
    /// How long the RPC waits for it, so that the commit can link to it.
    pub(super) span: tracing::Span,
    pub(super) reply: oneshot::Sender<Result<Reply, Fault>>,
}

impl Reply {
    /// The newest revision that whoever has the answer knows of.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Done { revision } | Self::Lease { revision, .. } => *revision,
            Self::Txn(answer) => answer.revision,
        }
    }
}
