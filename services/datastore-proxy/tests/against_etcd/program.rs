//! Random programs over few keys, so that steps meet each other.

use super::step::Step;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::TargetUnion;
use sextant_proto::etcd::etcdserverpb::request_op::Request;

pub struct Program {
    rng: StdRng,
    /// The newest revision, so that steps name revisions that mean something.
    newest: i64,
    /// etcd dies of a transaction that deletes a key without an upper bound and puts it again with the value or
    /// lease it had, so a program has either the one or the other.
    unbounded: bool,
    /// Watches that were opened so far.
    followed: i64,
}

/// Watches that one program opens at most.
const FOLLOWED: i64 = 8;
/// Leases that end by themselves would do so at any moment, so all of them last.
const TTL: i64 = 600;

const KEYS: [&[u8]; 10] = [
    b"a",
    b"a\0",
    b"ab",
    b"b",
    b"b\xff",
    b"c",
    b"\0",
    b"\xff",
    b"\xff\xff",
    &[b'b'; 2048],
];
const VALUES: [&[u8]; 4] = [b"", b"1", b"22", b"\0\xff"];
const LEASES: [i64; 3] = [11, 12, 13];

impl Program {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            newest: 1,
            unbounded: seed.is_multiple_of(2),
            followed: 0,
        }
    }

    pub fn next(&mut self, newest: i64) -> Step {
        self.newest = newest;
        match self.rng.random_range(0..1000) {
            0..180 => Step::Range(self.range()),
            180..240 => Step::Stream(self.stream()),
            240..480 => Step::Put(self.put()),
            480..560 => Step::Delete(self.delete()),
            560..850 => Step::Txn(self.txn(2)),
            850..870 => Step::Compact(self.compaction()),
            870..960 => self.lease(),
            960..980 if self.followed < FOLLOWED => {
                self.followed += 1;
                Step::Follow(self.follow())
            }
            980..988 if self.followed > 0 => {
                let watch_id = self.rng.random_range(0..self.followed);
                Step::Cancel(pb::WatchCancelRequest { watch_id })
            }
            _ => Step::Watch(self.watch()),
        }
    }

    fn lease(&mut self) -> Step {
        let id = self.pick(&LEASES);
        match self.rng.random_range(0..9) {
            0..3 => Step::Grant(pb::LeaseGrantRequest { ttl: TTL, id }),
            3..5 => Step::Revoke(pb::LeaseRevokeRequest { id }),
            5 => Step::KeepAlive(pb::LeaseKeepAliveRequest { id }),
            6 => Step::Leases(pb::LeaseLeasesRequest {}),
            _ => {
                let keys = self.chance(80);
                Step::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
        }
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.rng.random_range(0..list.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// Sometimes no key at all, which is refused.
    fn key(&mut self) -> Bytes {
        if self.chance(2) {
            Bytes::new()
        } else {
            Bytes::from_static(self.pick(&KEYS))
        }
    }

    fn end(&mut self) -> Bytes {
        let end: &'static [u8] = match self.rng.random_range(0..10) {
            0..4 => b"",
            4..6 => b"\0",
            _ => self.pick(&KEYS),
        };
        Bytes::from_static(end)
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
            value: Bytes::from_static(self.pick(&VALUES)),
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
                Bytes::new()
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
            fragment: self.chance(10),
            ..pb::WatchCreateRequest::default()
        }
    }

    /// Of the present, the past or the future.
    fn follow(&mut self) -> pb::WatchCreateRequest {
        let start_revision = match self.rng.random_range(0..4) {
            0..2 => 0,
            2 => self.revision().min(self.newest),
            _ => self.newest + self.rng.random_range(1..5),
        };
        pb::WatchCreateRequest {
            start_revision,
            fragment: self.chance(20),
            prev_kv: self.chance(60),
            ..self.watch()
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
                TargetUnion::Value(Bytes::from_static(self.pick(&VALUES))),
            ),
            _ => (4, TargetUnion::Lease(self.pick(&[0, 11, 12]))),
        };
        let union = if self.chance(5) {
            TargetUnion::Version(1)
        } else {
            union
        };
        pb::Compare {
            result: self.rng.random_range(0..5),
            target,
            key: self.key(),
            range_end: if self.chance(30) {
                self.end()
            } else {
                Bytes::new()
            },
            target_union: Some(union),
        }
    }
}
