//! Requests as API servers make them.

use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::request_op::Request;

pub fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

pub fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(Request::RequestPut(crate::support::put(key, value)))
}

pub fn get_op(key: &str) -> pb::RequestOp {
    op(Request::RequestRange(crate::support::get(key)))
}

pub fn delete_op(key: &str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(crate::support::delete(key)))
}

/// If the key has this `mod_revision`, 0 for a key that isn't there.
pub fn at(key: &str, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.to_owned().into(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    }
}

pub fn create(key: &str, value: &str) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![at(key, 0)],
        success: vec![put_op(key, value)],
        failure: Vec::new(),
    }
}

pub fn update(key: &str, value: &str, revision: i64) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![at(key, revision)],
        success: vec![put_op(key, value)],
        failure: vec![get_op(key)],
    }
}

pub fn delete_at(key: &str, revision: i64) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![at(key, revision)],
        success: vec![delete_op(key)],
        failure: vec![get_op(key)],
    }
}
