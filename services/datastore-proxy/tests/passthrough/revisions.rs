//! Revisions of a plain etcd ⇄ those of the same program in a plane, where the etcd also counts what the plane writes
//! for itself.

use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::TargetUnion;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use sextant_proto::etcd::etcdserverpb::response_op::Response;
use sextant_proto::etcd::mvccpb::KeyValue;
use std::collections::BTreeMap;

/// One-to-one and in order.
pub struct Revisions {
    to_plane: BTreeMap<i64, i64>,
    to_plain: BTreeMap<i64, i64>,
}

impl Revisions {
    /// The plain etcd is at 1, the plane's at `plane`.
    pub fn new(plane: i64) -> Self {
        Self {
            to_plane: BTreeMap::from([(1, plane)]),
            to_plain: BTreeMap::from([(plane, 1)]),
        }
    }

    /// Both are at these revisions now.
    pub fn note(&mut self, plain: i64, plane: i64) {
        self.to_plane.insert(plain, plane);
        self.to_plain.insert(plane, plain);
    }

    fn plane(&self, plain: i64) -> i64 {
        if plain <= 0 {
            return plain;
        }
        let (at, plane) = self
            .to_plane
            .range(..=plain)
            .next_back()
            .expect("1 is there");
        // The future lies far off: the plane may have counted on already.
        plane + (plain - at) * 1_000
    }

    fn plain(&self, plane: i64) -> i64 {
        let at = self.to_plain.range(..=plane).next_back();
        at.map_or(plane.min(0), |(_, plain)| *plain)
    }

    pub fn ask_range(&self, request: &mut pb::RangeRequest) {
        for revision in [
            &mut request.revision,
            &mut request.min_mod_revision,
            &mut request.max_mod_revision,
            &mut request.min_create_revision,
            &mut request.max_create_revision,
        ] {
            *revision = self.plane(*revision);
        }
    }

    pub fn ask_compaction(&self, request: &mut pb::CompactionRequest) {
        request.revision = self.plane(request.revision);
    }

    pub fn ask_watch(&self, request: &mut pb::WatchCreateRequest) {
        request.start_revision = self.plane(request.start_revision);
    }

    pub fn ask_txn(&self, request: &mut pb::TxnRequest) {
        for compare in &mut request.compare {
            if let Some(
                TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision),
            ) = &mut compare.target_union
            {
                *revision = self.plane(*revision);
            }
        }
        for op in request.success.iter_mut().chain(&mut request.failure) {
            match &mut op.request {
                Some(Request::RequestRange(request)) => self.ask_range(request),
                Some(Request::RequestTxn(request)) => self.ask_txn(request),
                _ => {}
            }
        }
    }

    pub fn header(&self, header: &mut Option<pb::ResponseHeader>) {
        if let Some(header) = header {
            header.revision = self.plain(header.revision);
        }
    }

    pub fn kvs<'a>(&self, kvs: impl IntoIterator<Item = &'a mut KeyValue>) {
        for kv in kvs {
            kv.mod_revision = self.plain(kv.mod_revision);
            kv.create_revision = self.plain(kv.create_revision);
        }
    }

    pub fn range(&self, answer: &mut pb::RangeResponse) {
        self.header(&mut answer.header);
        self.kvs(&mut answer.kvs);
    }

    pub fn put(&self, answer: &mut pb::PutResponse) {
        self.header(&mut answer.header);
        self.kvs(&mut answer.prev_kv);
    }

    pub fn delete(&self, answer: &mut pb::DeleteRangeResponse) {
        self.header(&mut answer.header);
        self.kvs(&mut answer.prev_kvs);
    }

    pub fn txn(&self, answer: &mut pb::TxnResponse) {
        self.header(&mut answer.header);
        for op in &mut answer.responses {
            match &mut op.response {
                Some(Response::ResponseRange(answer)) => self.range(answer),
                Some(Response::ResponsePut(answer)) => self.put(answer),
                Some(Response::ResponseDeleteRange(answer)) => self.delete(answer),
                Some(Response::ResponseTxn(answer)) => self.txn(answer),
                None => {}
            }
        }
    }

    pub fn watch(&self, answer: &mut pb::WatchResponse) {
        self.header(&mut answer.header);
        answer.compact_revision = self.plain(answer.compact_revision);
        for event in &mut answer.events {
            self.kvs(&mut event.kv);
            self.kvs(&mut event.prev_kv);
        }
    }
}
