//! Why a request is refused. Codes and texts are etcd's: clients compare them word by word.

use super::range::KeyRange;
use thiserror::Error;

/// A refused or failed request.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// The revision is older than the compaction.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The store can't be trusted.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// The caller may not do this at all.
    #[error("etcdserver: permission denied: {caller} may not call {what}")]
    DeniedCall {
        /// Who asked.
        caller: String,
        /// What for.
        what: &'static str,
    },
    /// The caller may not touch these keys.
    #[error(
        "etcdserver: permission denied: {range} is outside of what {caller} may touch ({granted})"
    )]
    DeniedRange {
        /// Who asked.
        caller: String,
        /// For which keys.
        range: KeyRange,
        /// Which keys it may touch.
        granted: String,
    },
    /// The lease is somebody else's.
    #[error("etcdserver: permission denied: lease {lease} was not made by {caller}")]
    DeniedLease {
        /// Who asked.
        caller: String,
        /// For which lease.
        lease: i64,
    },
    /// Two operations of a transaction write one key.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A key of no bytes.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// What the replica that writes refused, where this one doesn't know the reason.
    #[error("{message}")]
    Forwarded {
        /// The gRPC code.
        code: i32,
        /// The whole text.
        message: String,
    },
    /// The revision doesn't exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// An unknown order or target.
    #[error("etcdserver: invalid sort option")]
    InvalidSort,
    /// `ignore_value` or `ignore_lease` on a key that doesn't exist, or an empty operation.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// Another replica writes now. What was asked was not done.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// The id is taken.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// There is no such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// `ignore_lease` with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// No replica writes, or it can't be reached. What was asked was not done.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// Nobody won the election yet.
    #[error("election: no leader")]
    NobodyElected,
    /// A request of a leader that doesn't say which.
    #[error("\"leader\" field must be provided")]
    NoLeaderKey,
    /// Somebody else leads by now.
    #[error("election: not leader")]
    NotLeader,
    /// The disk is full.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The request is over 1.5 MiB.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// The lease ended while its owner waited for a lock.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// The store is stopping.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// The store failed. What was asked was not done.
    #[error("the datastore failed: {0}")]
    Store(String),
    /// No answer in time. Whether it was done is unknown.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// More than 128 operations.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// The queue of the writer is full.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// A lease of more than 9,000,000,000 s.
    #[error("etcdserver: too large lease TTL")]
    TtlTooLarge,
    /// Not part of what is served, and why.
    #[error("{0}")]
    Unsupported(&'static str),
    /// `ignore_value` with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
}

impl Fault {
    /// The faults without details, which a text tells.
    const PLAIN: [Self; 20] = [
        Self::Compacted,
        Self::Corrupt,
        Self::DuplicateKey,
        Self::EmptyKey,
        Self::FutureRevision,
        Self::InvalidSort,
        Self::KeyNotFound,
        Self::LeaderChanged,
        Self::LeaseExists,
        Self::LeaseNotFound,
        Self::LeaseProvided,
        Self::NoLeader,
        Self::NoSpace,
        Self::RequestTooLarge,
        Self::Stopped,
        Self::Timeout,
        Self::TooManyOperations,
        Self::TooManyRequests,
        Self::TtlTooLarge,
        Self::ValueProvided,
    ];

    /// The fault that another replica told by its code and text.
    pub fn told(code: i32, message: &str) -> Self {
        let plain = Self::PLAIN.into_iter();
        let known = plain.into_iter().find(|fault| fault.to_string() == message);
        known.unwrap_or_else(|| Self::Forwarded {
            code,
            message: message.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_again_by_its_text() {
        for fault in Fault::PLAIN {
            assert_eq!(Fault::told(2, &fault.to_string()), fault);
        }
        let strange = Fault::told(7, "etcdserver: permission denied: x");
        assert_eq!(strange.to_string(), "etcdserver: permission denied: x");
    }
}
