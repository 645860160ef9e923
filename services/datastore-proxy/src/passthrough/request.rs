//! What is asked of this plane → what is asked of the etcd.

use super::plane::Plane;
use crate::domain::range::KeyRange;
use crate::domain::request::{
    Compare, Delete, Op, Put, Query, Relation, SortOrder, SortTarget, Target, Txn,
};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::range_request as range;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use std::collections::BTreeSet;

/// A lease that is never granted: what asks for it is answered that there is no such lease, and only if etcd gets
/// to it.
pub const NO_LEASE: i64 = i64::MIN;
/// A revision that etcd takes for compacted within a transaction, whatever it still holds.
const FORGOTTEN: i64 = i64::MIN;

/// Rewrites requests that were checked and cut already.
pub struct Rewrite<'a> {
    /// Whose keys they name.
    pub plane: &'a Plane,
    /// Reads from before are refused.
    pub compacted: i64,
    /// Leases that are not of this plane.
    pub foreign: &'a BTreeSet<i64>,
}

impl Rewrite<'_> {
    /// A read of its own. That its revision is not compacted is checked before.
    pub fn query(&self, query: &Query) -> pb::RangeRequest {
        let (key, range_end) = self.plane.range(&query.range).to_wire();
        pb::RangeRequest {
            key,
            range_end,
            limit: query.limit,
            revision: query.revision,
            sort_order: order(query.order).into(),
            sort_target: target(query.target).into(),
            serializable: false,
            keys_only: query.keys_only,
            count_only: query.count_only,
            min_mod_revision: query.modified.min,
            max_mod_revision: query.modified.max,
            min_create_revision: query.created.min,
            max_create_revision: query.created.max,
        }
    }

    /// A write of its own.
    pub fn put(&self, put: Put) -> pb::PutRequest {
        let lease = put.lease.unwrap_or_default();
        pb::PutRequest {
            key: self.plane.key(&put.key),
            ignore_value: put.value.is_none(),
            value: put.value.unwrap_or_default(),
            ignore_lease: put.lease.is_none(),
            lease: if self.foreign.contains(&lease) {
                NO_LEASE
            } else {
                lease
            },
            prev_kv: put.prev_kv,
        }
    }

    /// A deletion.
    pub fn delete(&self, delete: &Delete) -> pb::DeleteRangeRequest {
        let (key, range_end) = self.plane.range(&delete.range).to_wire();
        pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: delete.prev_kv,
        }
    }

    /// A transaction.
    pub fn txn(&self, txn: Txn) -> pb::TxnRequest {
        let ops = |ops: Vec<Op>| ops.into_iter().map(|op| self.op(op)).collect();
        let compares = txn.compares.into_iter();
        pb::TxnRequest {
            compare: compares.map(|compare| self.compare(compare)).collect(),
            success: ops(txn.success),
            failure: ops(txn.failure),
        }
    }

    fn op(&self, op: Op) -> pb::RequestOp {
        let request = match op {
            Op::Delete(delete) => Request::RequestDeleteRange(self.delete(&delete)),
            Op::Put(put) => Request::RequestPut(self.put(put)),
            Op::Range(mut query) => {
                if (1..self.compacted).contains(&query.revision) {
                    query.revision = FORGOTTEN;
                }
                Request::RequestRange(self.query(&query))
            }
            Op::Txn(txn) => Request::RequestTxn(self.txn(txn)),
        };
        pb::RequestOp {
            request: Some(request),
        }
    }

    fn compare(&self, compare: Compare) -> pb::Compare {
        let (key, range_end) = self.plane.range(&compare.range).to_wire();
        let (target, union) = match compare.target {
            Target::Create(revision) => {
                (CompareTarget::Create, TargetUnion::CreateRevision(revision))
            }
            Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(lease)),
            Target::Mod(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision)),
            Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value)),
            Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(version)),
        };
        pb::Compare {
            result: relation(compare.relation),
            target: target.into(),
            key,
            range_end,
            target_union: Some(union),
        }
    }
}

/// The leases that a transaction would put keys under, in whatever branch.
pub fn leases(txn: &Txn) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    collect(txn, &mut found);
    found
}

fn collect(txn: &Txn, found: &mut BTreeSet<i64>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) => found.extend(put.lease.filter(|lease| *lease != 0)),
            Op::Txn(txn) => collect(txn, found),
            Op::Delete(_) | Op::Range(_) => {}
        }
    }
}

/// The watch of `range` from revision `from` on, with all that any client may want of it.
pub fn watch(plane: &Plane, range: &KeyRange, from: i64) -> pb::WatchCreateRequest {
    let (key, range_end) = plane.range(range).to_wire();
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: from,
        prev_kv: true,
        // Else an answer may be larger than what is read at once.
        fragment: true,
        ..pb::WatchCreateRequest::default()
    }
}

fn order(order: SortOrder) -> range::SortOrder {
    match order {
        SortOrder::Ascend => range::SortOrder::Ascend,
        SortOrder::Descend => range::SortOrder::Descend,
        SortOrder::None => range::SortOrder::None,
    }
}

fn target(target: SortTarget) -> range::SortTarget {
    match target {
        SortTarget::Create => range::SortTarget::Create,
        SortTarget::Key => range::SortTarget::Key,
        SortTarget::Mod => range::SortTarget::Mod,
        SortTarget::Value => range::SortTarget::Value,
        SortTarget::Version => range::SortTarget::Version,
    }
}

fn relation(relation: Relation) -> i32 {
    match relation {
        Relation::Equal => CompareResult::Equal.into(),
        Relation::Greater => CompareResult::Greater.into(),
        Relation::Less => CompareResult::Less.into(),
        Relation::NotEqual => CompareResult::NotEqual.into(),
        // etcd decides what it makes of one that it doesn't know either.
        Relation::Unknown => i32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::convert;

    fn rewritten(request: pb::TxnRequest) -> pb::TxnRequest {
        let rewrite = Rewrite {
            plane: &Plane::new("/p/".into()),
            compacted: 10,
            foreign: &BTreeSet::from([7]),
        };
        rewrite.txn(convert::txn(request).unwrap())
    }

    fn read(key: &'static str, end: &'static str, revision: i64) -> pb::RequestOp {
        let request = Request::RequestRange(pb::RangeRequest {
            key: key.into(),
            range_end: end.into(),
            revision,
            ..pb::RangeRequest::default()
        });
        pb::RequestOp {
            request: Some(request),
        }
    }

    fn put(key: &'static str, lease: i64) -> pb::RequestOp {
        let request = Request::RequestPut(pb::PutRequest {
            key: key.into(),
            lease,
            ..pb::PutRequest::default()
        });
        pb::RequestOp {
            request: Some(request),
        }
    }

    #[test]
    fn every_key_of_a_transaction_is_rewritten() {
        let compare = |key: &'static str, end: &'static str| pb::Compare {
            target: CompareTarget::Mod.into(),
            result: CompareResult::Less.into(),
            key: key.into(),
            range_end: end.into(),
            target_union: Some(TargetUnion::ModRevision(5)),
        };
        let txn = |compare, success| pb::TxnRequest {
            compare: vec![compare],
            success,
            failure: Vec::new(),
        };
        let nested = |inner| pb::RequestOp {
            request: Some(Request::RequestTxn(inner)),
        };
        let inner = txn(compare("c", ""), vec![put("k", 8), put("l", 7)]);
        let outer = txn(
            compare("a", "\0"),
            vec![read("a", "b", 10), read("a", "\0", 9), nested(inner)],
        );
        let inner = txn(
            compare("/p/c", ""),
            vec![put("/p/k", 8), put("/p/l", NO_LEASE)],
        );
        let expected = txn(
            compare("/p/a", "/p0"),
            vec![
                read("/p/a", "/p/b", 10),
                read("/p/a", "/p0", FORGOTTEN),
                nested(inner),
            ],
        );
        assert_eq!(rewritten(outer), expected);
    }
}
