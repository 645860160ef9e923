//! The requests of kube-apiserver 1.37, as k8s.io/apiserver's etcd3 storage sends them.

use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare;
use sextant_proto::etcd::etcdserverpb::request_op::Request;

/// Size of an object.
const VALUE: usize = 1024;

/// An object of 1 KiB that compresses as badly as any.
pub fn value(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = Vec::with_capacity(VALUE);
    while value.len() < VALUE {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    value.into()
}

/// A create: if the key doesn't exist, put it.
pub fn create(key: &Bytes, value: Bytes) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![unchanged(key, 0)],
        success: vec![put(key, value)],
        failure: Vec::new(),
    }
}

/// An update: if the key is still at `revision`, put it, else read it.
pub fn update(key: &Bytes, revision: i64, value: Bytes) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![unchanged(key, revision)],
        success: vec![put(key, value)],
        failure: vec![op(Request::RequestRange(get(key)))],
    }
}

/// A deletion: if the key is still at `revision`, delete it, else read it.
pub fn delete(key: &Bytes, revision: i64) -> pb::TxnRequest {
    let delete = pb::DeleteRangeRequest {
        key: key.clone(),
        ..pb::DeleteRangeRequest::default()
    };
    pb::TxnRequest {
        compare: vec![unchanged(key, revision)],
        success: vec![op(Request::RequestDeleteRange(delete))],
        failure: vec![op(Request::RequestRange(get(key)))],
    }
}

/// One object.
pub fn get(key: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.clone(),
        limit: 1,
        ..pb::RangeRequest::default()
    }
}

/// A page of a list, from `from` up to the end of `prefix`.
pub fn page(from: Bytes, prefix: &str, limit: i64, revision: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: from,
        range_end: end(prefix),
        limit,
        revision,
        ..pb::RangeRequest::default()
    }
}

/// How many objects begin with `prefix`.
pub fn count(prefix: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        count_only: true,
        ..page(Bytes::copy_from_slice(prefix.as_bytes()), prefix, 0, 0)
    }
}

/// A watch of everything that begins with `prefix`.
pub fn watch(prefix: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: end(prefix),
        prev_kv: true,
        ..pb::WatchCreateRequest::default()
    };
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    }
}

/// The first key after all that begin with `prefix`, whose last byte isn't 0xff.
fn end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

fn unchanged(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
        ..pb::Compare::default()
    }
}

fn put(key: &Bytes, value: Bytes) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest {
        key: key.clone(),
        value,
        ..pb::PutRequest::default()
    }))
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}
