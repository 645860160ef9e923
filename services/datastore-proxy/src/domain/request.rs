//! What can be asked, already checked.

use super::range::KeyRange;
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::KeyValue;

/// Order of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
    /// Whatever the index gives: by key.
    #[default]
    None,
}

/// What an answer is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// `create_revision`
    Create,
    /// The key.
    #[default]
    Key,
    /// `mod_revision`
    Mod,
    /// The value.
    Value,
    /// `version`
    Version,
}

/// Inclusive bounds on a revision; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionBounds {
    /// At least.
    pub min: i64,
    /// At most.
    pub max: i64,
}

impl RevisionBounds {
    /// Whether there is a bound.
    pub fn is_set(self) -> bool {
        self.min != 0 || self.max != 0
    }

    /// Whether `revision` lies within.
    pub fn hold(self, revision: i64) -> bool {
        (self.min == 0 || revision >= self.min) && (self.max == 0 || revision <= self.max)
    }
}

/// Reads a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which keys.
    pub range: KeyRange,
    /// As of when; 0 or less is now.
    pub revision: i64,
    /// At most so many; 0 or less is all.
    pub limit: i64,
    /// In which order.
    pub order: SortOrder,
    /// Ordered by what.
    pub target: SortTarget,
    /// Without values.
    pub keys_only: bool,
    /// Nothing but the number.
    pub count_only: bool,
    /// Bounds on `mod_revision`.
    pub modified: RevisionBounds,
    /// Bounds on `create_revision`.
    pub created: RevisionBounds,
}

impl Query {
    /// Everything in `range`, now.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            revision: 0,
            limit: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            modified: RevisionBounds::default(),
            created: RevisionBounds::default(),
        }
    }

    /// Whether the index' own order will do. Without an order, a target other than the key still sorts what the
    /// limit left, as etcd does.
    pub fn is_default_order(&self) -> bool {
        self.order == SortOrder::None
            || self.target == SortTarget::Key && self.order == SortOrder::Ascend
    }

    /// Whether keys are left out by their revisions.
    pub fn is_filtered(&self) -> bool {
        self.modified.is_set() || self.created.is_set()
    }
}

/// Writes one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// Which.
    pub key: Bytes,
    /// What, `None` to keep the value it has.
    pub value: Option<Bytes>,
    /// Under which lease (0: none), `None` to keep the one it has.
    pub lease: Option<i64>,
    /// Answer with what was there.
    pub prev_kv: bool,
}

/// Deletes a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with what was there.
    pub prev_kv: bool,
}

/// What is compared, and with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `create_revision`
    Create(i64),
    /// The lease.
    Lease(i64),
    /// `mod_revision`
    Mod(i64),
    /// The value.
    Value(Bytes),
    /// `version`
    Version(i64),
}

/// How it must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// =
    Equal,
    /// >
    Greater,
    /// <
    Less,
    /// ≠
    NotEqual,
    /// Always holds: a relation that is newer than this code, as etcd treats it.
    Unknown,
}

/// A condition on every key of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// What of them, and the other side.
    pub target: Target,
    /// How.
    pub relation: Relation,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Deletes a range.
    Delete(Delete),
    /// Writes a key.
    Put(Put),
    /// Reads a range.
    Range(Query),
    /// A transaction of its own.
    Txn(Txn),
}

/// If all of `compares` hold then `success`, else `failure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// Steps if they hold.
    pub success: Vec<Op>,
    /// Steps if not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// One step without a condition.
    pub fn of(op: Op) -> Self {
        Self {
            success: vec![op],
            ..Self::default()
        }
    }

    /// What its first step touches.
    pub fn first_keys(&self) -> Option<KeyRange> {
        match self.success.iter().chain(&self.failure).next()? {
            Op::Delete(delete) => Some(delete.range.clone()),
            Op::Put(put) => Some(KeyRange::key(put.key.clone())),
            Op::Range(query) => Some(query.range.clone()),
            Op::Txn(txn) => txn.first_keys(),
        }
    }

    /// Whether no step can write. As in etcd a nested transaction counts as writing.
    pub fn is_read_only(&self) -> bool {
        self.success
            .iter()
            .chain(&self.failure)
            .all(|op| matches!(op, Op::Range(_)))
    }
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeAnswer {
    /// The store's revision when it was read.
    pub revision: i64,
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut it.
    pub more: bool,
    /// Keys in the range, whatever the limit.
    pub count: i64,
}

/// The answer to one [`Op`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a deletion.
    Delete {
        /// The revision after it.
        revision: i64,
        /// How many.
        deleted: i64,
        /// What was there, where asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// To a put.
    Put {
        /// The revision of it.
        revision: i64,
        /// What was there, where asked for.
        prev_kv: Option<KeyValue>,
    },
    /// To a read.
    Range(RangeAnswer),
    /// To a nested transaction.
    Txn(TxnAnswer),
}

/// The answer to a [`Txn`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnAnswer {
    /// The store's revision after it; of a nested one 0.
    pub revision: i64,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One for each step that was run.
    pub answers: Vec<Answer>,
}
