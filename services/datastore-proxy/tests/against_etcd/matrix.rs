//! Every combination of a few options, where random programs would meet each one too seldom.

use super::step::Step;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::TargetUnion;
use sextant_proto::etcd::etcdserverpb::request_op::Request;

/// etcd sorts more than twelve keys in an order of its own where they compare equal.
const KEYS: [&str; 9] = ["a", "a\0", "ab", "b", "c", "d", "e", "f", "g"];

fn put(key: &'static str, value: &'static str) -> Step {
    Step::Put(pb::PutRequest {
        key: key.into(),
        value: value.into(),
        ..pb::PutRequest::default()
    })
}

fn delete(key: &'static str) -> Step {
    Step::Delete(pb::DeleteRangeRequest {
        key: key.into(),
        ..pb::DeleteRangeRequest::default()
    })
}

/// Keys with versions, values and revisions that are equal for some of them; "f" is gone, "g" came back.
fn some_keys() -> Vec<Step> {
    let mut steps: Vec<Step> = KEYS.map(|key| put(key, "1")).to_vec();
    steps.extend(["c", "a", "e"].map(|key| put(key, "2")));
    steps.extend(["a", "d"].map(|key| put(key, "0")));
    steps.extend(["f", "g"].map(delete));
    steps.push(put("g", "3"));
    steps
}

/// Order × target × limit × bounds × what is wanted of the keys.
pub fn ranges() -> Vec<Step> {
    let mut steps = some_keys();
    for order in 0..4 {
        for target in 0..6 {
            for limit in [0, 1, 3, 8, -1] {
                for (keys_only, count_only) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    for bounds in [[0; 4], [5, 0, 0, 0], [0, 12, 0, 0], [0, 0, 3, 6]] {
                        for revision in [0, 13] {
                            let range = pb::RangeRequest {
                                key: "a".into(),
                                range_end: "\0".into(),
                                limit,
                                revision,
                                sort_order: order,
                                sort_target: target,
                                serializable: false,
                                keys_only,
                                count_only,
                                min_mod_revision: bounds[0],
                                max_mod_revision: bounds[1],
                                min_create_revision: bounds[2],
                                max_create_revision: bounds[3],
                            };
                            steps.push(Step::Range(range));
                        }
                    }
                }
            }
        }
    }
    steps
}

/// Target × operator × range × what it is compared with.
pub fn compares() -> Vec<Step> {
    let mut steps = some_keys();
    steps.push(Step::Grant(pb::LeaseGrantRequest { ttl: 600, id: 3 }));
    steps.push(Step::Put(pb::PutRequest {
        key: "b".into(),
        value: "1".into(),
        lease: 3,
        ..pb::PutRequest::default()
    }));
    let ranges = [
        ("a", ""),
        ("b", ""),
        ("f", ""),
        ("nothing", ""),
        ("b", "e"),
        ("a", "\0"),
        ("x", "y"),
        ("c", "b"),
    ];
    for (key, end) in ranges {
        for result in 0..5 {
            for number in [0, 1, 3, 5, 12] {
                let targets = [
                    (0, TargetUnion::Version(number)),
                    (1, TargetUnion::CreateRevision(number)),
                    (2, TargetUnion::ModRevision(number)),
                    (3, TargetUnion::Value(number.to_string().into())),
                    (4, TargetUnion::Lease(number)),
                    // The union doesn't hold what the target names.
                    (1, TargetUnion::Version(number)),
                ];
                for (target, union) in targets {
                    let compare = pb::Compare {
                        result,
                        target,
                        key: key.into(),
                        range_end: end.into(),
                        target_union: Some(union),
                    };
                    steps.push(Step::Txn(pb::TxnRequest {
                        compare: vec![compare],
                        ..pb::TxnRequest::default()
                    }));
                }
            }
        }
    }
    steps
}

/// Shortest, longest, taken, ended; keys that move from lease to lease.
pub fn leases() -> Vec<Step> {
    let grant = |id, ttl| Step::Grant(pb::LeaseGrantRequest { ttl, id });
    let revoke = |id| Step::Revoke(pb::LeaseRevokeRequest { id });
    let left = |id| Step::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys: true });
    let leased = |key: &'static str, lease| {
        Step::Put(pb::PutRequest {
            key: key.into(),
            lease,
            prev_kv: true,
            ..pb::PutRequest::default()
        })
    };
    let mut steps = Vec::new();
    for ttl in [0, 1, -1, i64::MIN, 9_000_000_000, 9_000_000_001, i64::MAX] {
        steps.extend([grant(5, ttl), revoke(5), revoke(5), left(5)]);
    }
    for id in [-1, i64::MIN, i64::MAX] {
        steps.extend([grant(id, 600), grant(id, 600), left(id), revoke(id)]);
    }
    steps.extend([grant(1, 600), grant(2, 700)]);
    steps.extend([
        leased("a", 1),
        leased("b", 1),
        leased("b\0", 1),
        leased("c", 2),
        leased("x", 9),
    ]);
    // A key moves, loses its lease, is deleted, comes back without one.
    steps.extend([leased("b", 2), put("a", "none"), delete("c"), put("c", "")]);
    steps.extend([left(1), left(2), Step::Leases(pb::LeaseLeasesRequest {})]);
    let keep = pb::PutRequest {
        key: "b".into(),
        ignore_lease: true,
        ..pb::PutRequest::default()
    };
    steps.extend([
        Step::Put(keep.clone()),
        left(2),
        revoke(1),
        left(1),
        revoke(2),
    ]);
    // The key of the lease is gone with it.
    steps.push(Step::Put(keep));
    steps.push(Step::Range(pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..pb::RangeRequest::default()
    }));
    steps
}

/// Requests about as large as they may be, and lists larger than any request.
pub fn sizes() -> Vec<Step> {
    let large = |key: &'static str, bytes: usize| pb::PutRequest {
        key: key.into(),
        value: vec![b'v'; bytes].into(),
        prev_kv: true,
        ..pb::PutRequest::default()
    };
    let op = |request: Request| pb::RequestOp {
        request: Some(request),
    };
    let txn = |success: Vec<pb::RequestOp>| {
        Step::Txn(pb::TxnRequest {
            success,
            ..pb::TxnRequest::default()
        })
    };
    let puts = |count: usize, bytes| -> Vec<pb::RequestOp> {
        let put = |at: usize| {
            let put = pb::PutRequest {
                key: format!("/txn/{at:03}").into(),
                value: vec![b'v'; bytes].into(),
                ..pb::PutRequest::default()
            };
            op(Request::RequestPut(put))
        };
        (0..count).map(put).collect()
    };
    let limit = 1536 * 1024;
    let nested = |depth: usize| {
        let mut inner = puts(1, 1);
        for _ in 0..depth {
            let txn = pb::TxnRequest {
                success: inner,
                ..pb::TxnRequest::default()
            };
            inner = vec![op(Request::RequestTxn(txn))];
        }
        inner
    };
    let beside = |count, inner| {
        let mut ops = puts(count, 1);
        let reads = (0..inner).map(|_| {
            op(Request::RequestRange(pb::RangeRequest {
                key: "/".into(),
                ..pb::RangeRequest::default()
            }))
        });
        ops.push(op(Request::RequestTxn(pb::TxnRequest {
            success: reads.collect(),
            ..pb::TxnRequest::default()
        })));
        ops
    };
    let all = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..pb::RangeRequest::default()
    };
    let long = |length: usize| {
        Step::Put(pb::PutRequest {
            key: Bytes::from(vec![0xff; length]),
            value: "v".into(),
            ..pb::PutRequest::default()
        })
    };
    vec![
        Step::Put(large("/large/1", limit - 1000)),
        Step::Put(large("/large/2", limit + 1000)),
        Step::Put(large("/large/1", limit - 2000)),
        Step::Put(large("/large/3", limit - 1000)),
        Step::Put(large("/large/4", limit - 1000)),
        txn(puts(127, 10_000)),
        txn(puts(128, 10)),
        txn(puts(129, 10)),
        txn(puts(128, 13_000)),
        // Deeper ones are refused by the decoder of this client.
        txn(nested(40)),
        txn(beside(99, 28)),
        txn(beside(99, 29)),
        long(2048),
        long(2049),
        long(100_000),
        Step::Range(all.clone()),
        Step::Range(pb::RangeRequest {
            keys_only: true,
            ..all.clone()
        }),
        Step::Stream(all),
        Step::Watch(pb::WatchCreateRequest {
            key: "/".into(),
            range_end: "0".into(),
            start_revision: 1,
            prev_kv: true,
            fragment: true,
            ..pb::WatchCreateRequest::default()
        }),
    ]
}
