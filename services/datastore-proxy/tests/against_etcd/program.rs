//! Random programs over few keys, so that steps meet each other.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::TargetUnion;
use sextant_proto::etcd::etcdserverpb::request_op::Request;

#[derive(Clone, Debug)]
pub enum Step {
    Compact(pb::CompactionRequest),
    Delete(pb::DeleteRangeRequest),
    Grant(pb::LeaseGrantRequest),
    Put(pb::PutRequest),
    Range(pb::RangeRequest),
    Revoke(pb::LeaseRevokeRequest),
    Stream(pb::RangeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Txn(pb::TxnRequest),
    Watch(pb::WatchCreateRequest),
}

pub struct Program {
    rng: StdRng,
    /// The newest revision, so that steps name revisions that mean something.
    newest: i64,
    /// etcd dies of a transaction that deletes a key without an upper bound and puts it again with the value or
    /// lease it had, so a program has either the one or the other.
    unbounded: bool,
}

const KEYS: [&[u8]; 9] = [
    b"a",
    b"a\0",
    b"ab",
    b"b",
    b"b\xff",
    b"c",
    b"\0",
    b"\xff",
    b"\xff\xff",
];
const VALUES: [&[u8]; 4] = [b"", b"1", b"22", b"\0\xff"];
const LEASES: [i64; 3] = [11, 12, 13];

impl Program {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            newest: 1,
            unbounded: seed.is_multiple_of(2),
        }
    }

    pub fn next(&mut self, newest: i64) -> Step {
        self.newest = newest;
        match self.rng.random_range(0..100) {
            0..18 => Step::Range(self.range()),
            18..24 => Step::Stream(self.stream()),
            24..50 => Step::Put(self.put()),
            50..58 => Step::Delete(self.delete()),
            58..88 => Step::Txn(self.txn(2)),
            88..90 => Step::Compact(self.compaction()),
            90..93 => Step::Grant(pb::LeaseGrantRequest {
                ttl: 600,
                id: self.pick(&LEASES),
            }),
            93..95 => Step::Revoke(pb::LeaseRevokeRequest {
                id: self.pick(&LEASES),
            }),
            95..98 => {
                let id = self.pick(&LEASES);
                Step::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys: true })
            }
            _ => Step::Watch(self.watch()),
        }
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.rng.random_range(0..list.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// Sometimes no key at all, which is refused.
    fn key(&mut self) -> bytes::Bytes {
        if self.chance(2) {
            bytes::Bytes::new()
        } else {
            bytes::Bytes::from_static(self.pick(&KEYS))
        }
    }

    fn end(&mut self) -> bytes::Bytes {
        let end: &'static [u8] = match self.rng.random_range(0..10) {
            0..4 => b"",
            4..6 => b"\0",
            _ => self.pick(&KEYS),
        };
        bytes::Bytes::from_static(end)
    }

    fn revision(&mut self) -> i64 {
        match self.rng.random_range(0..10) {
            0 => self.newest + 1,
            1..3 => self.newest,
            _ => self.rng.random_range(1..=self.newest),
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let bound = |program: &mut Self| {
            if program.chance(10) {
                program.revision()
            } else {
                0
            }
        };
        pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: if self.chance(40) {
                self.rng.random_range(-1..5)
            } else {
                0
            },
            revision: if self.chance(40) { self.revision() } else { 0 },
            sort_order: if self.chance(40) {
                self.rng.random_range(0..3)
            } else {
                0
            },
            sort_target: if self.chance(40) {
                self.rng.random_range(0..6)
            } else {
                0
            },
            serializable: self.chance(10),
            keys_only: self.chance(15),
            count_only: self.chance(15),
            min_mod_revision: bound(self),
            max_mod_revision: bound(self),
            min_create_revision: bound(self),
            max_create_revision: bound(self),
        }
    }

    fn stream(&mut self) -> pb::RangeRequest {
        if self.chance(20) {
            return self.range();
        }
        pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: if self.chance(40) {
                self.rng.random_range(0..5)
            } else {
                0
            },
            revision: if self.chance(40) { self.revision() } else { 0 },
            keys_only: self.chance(15),
            count_only: self.chance(15),
            ..pb::RangeRequest::default()
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        pb::PutRequest {
            key: self.key(),
            value: bytes::Bytes::from_static(self.pick(&VALUES)),
            lease: if self.chance(20) {
                self.pick(&LEASES)
            } else {
                0
            },
            prev_kv: self.chance(30),
            ignore_value: self.chance(8),
            ignore_lease: self.chance(8),
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest {
            key: self.key(),
            range_end: if self.chance(50) {
                self.end()
            } else {
                bytes::Bytes::new()
            },
            prev_kv: self.chance(40),
        }
    }

    fn compaction(&mut self) -> pb::CompactionRequest {
        pb::CompactionRequest {
            revision: self.revision(),
            physical: self.chance(50),
        }
    }

    fn watch(&mut self) -> pb::WatchCreateRequest {
        pb::WatchCreateRequest {
            key: self.key(),
            range_end: self.end(),
            start_revision: self.rng.random_range(-1..=self.newest),
            watch_id: if self.chance(30) { 7 } else { 0 },
            filters: if self.chance(20) {
                vec![self.rng.random_range(0..2)]
            } else {
                vec![]
            },
            prev_kv: self.chance(30),
            ..pb::WatchCreateRequest::default()
        }
    }

    fn txn(&mut self, depth: u32) -> pb::TxnRequest {
        let ops = |program: &mut Self| {
            let count = program.rng.random_range(0..4);
            (0..count).map(|_| program.op(depth)).collect::<Vec<_>>()
        };
        let (success, failure) = (ops(self), ops(self));
        let count = self.rng.random_range(0..3);
        pb::TxnRequest {
            compare: (0..count).map(|_| self.compare()).collect(),
            success,
            failure,
        }
    }

    fn op(&mut self, depth: u32) -> pb::RequestOp {
        let request = match self.rng.random_range(0..20) {
            0..7 => {
                let mut put = self.put();
                put.ignore_value &= !self.unbounded;
                put.ignore_lease &= !self.unbounded;
                Some(Request::RequestPut(put))
            }
            7..12 => Some(Request::RequestRange(self.range())),
            12..16 => {
                let mut delete = self.delete();
                if !self.unbounded && delete.range_end.as_ref() == [0] {
                    delete.range_end.clear();
                }
                Some(Request::RequestDeleteRange(delete))
            }
            _ if depth > 0 => Some(Request::RequestTxn(self.txn(depth - 1))),
            _ => Some(Request::RequestRange(self.range())),
        };
        pb::RequestOp { request }
    }

    fn compare(&mut self) -> pb::Compare {
        let number = match self.rng.random_range(0..3) {
            0 => 0,
            1 => self.rng.random_range(0..4),
            _ => self.revision(),
        };
        let (target, union) = match self.rng.random_range(0..5) {
            0 => (0, TargetUnion::Version(number)),
            1 => (1, TargetUnion::CreateRevision(number)),
            2 => (2, TargetUnion::ModRevision(number)),
            3 => (
                3,
                TargetUnion::Value(bytes::Bytes::from_static(self.pick(&VALUES))),
            ),
            _ => (4, TargetUnion::Lease(self.pick(&[0, 11, 12]))),
        };
        let union = if self.chance(5) {
            TargetUnion::Version(1)
        } else {
            union
        };
        pb::Compare {
            result: self.rng.random_range(0..4),
            target,
            key: self.key(),
            range_end: if self.chance(30) {
                self.end()
            } else {
                bytes::Bytes::new()
            },
            target_union: Some(union),
        }
    }
}
