//! Answers without what may differ.

use super::side::World;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::response_op::Response;
use sextant_proto::etcd::mvccpb::Event;
use tonic::Status;

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Compact(pb::CompactionResponse),
    Delete(pb::DeleteRangeResponse),
    Failed(tonic::Code, String),
    Grant(pb::LeaseGrantResponse),
    Hung,
    KeepAlive(pb::LeaseKeepAliveResponse),
    Leases(pb::LeaseLeasesResponse),
    Put(pb::PutResponse),
    Range(pb::RangeResponse),
    Revoke(pb::LeaseRevokeResponse),
    /// Nothing to do.
    Skipped,
    TimeToLive(pb::LeaseTimeToLiveResponse),
    Told(Vec<Event>),
    Txn(pb::TxnResponse),
    Watch(Vec<pb::WatchResponse>),
}

pub fn outcome<T>(
    result: Result<tonic::Response<T>, Status>,
    wrap: fn(T) -> Outcome,
    world: World,
) -> Outcome {
    match result {
        Ok(response) => normal(wrap(response.into_inner()), world),
        Err(status) => Outcome::Failed(status.code(), status.message().to_owned()),
    }
}

impl Outcome {
    /// The revision it names.
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Compact(response) => &response.header,
            Self::Delete(response) => &response.header,
            Self::Put(response) => &response.header,
            Self::Range(response) => &response.header,
            Self::Revoke(response) => &response.header,
            Self::Txn(response) => &response.header,
            _ => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}

fn normal(mut outcome: Outcome, world: World) -> Outcome {
    match &mut outcome {
        Outcome::Compact(response) => header(&mut response.header),
        Outcome::Delete(response) => header(&mut response.header),
        Outcome::Failed(..) | Outcome::Hung | Outcome::Skipped | Outcome::Told(_) => {}
        Outcome::Grant(response) => header(&mut response.header),
        Outcome::KeepAlive(response) => header(&mut response.header),
        Outcome::Leases(response) => {
            header(&mut response.header);
            response.leases.sort_by_key(|lease| lease.id);
        }
        Outcome::Put(response) => header(&mut response.header),
        Outcome::Range(response) => range(response),
        Outcome::Revoke(response) => header(&mut response.header),
        Outcome::TimeToLive(response) => {
            header(&mut response.header);
            response.keys.sort();
            // How much time has passed differs.
            if response.ttl > 0 {
                response.ttl = response.granted_ttl;
            }
        }
        Outcome::Txn(response) => txn(response),
        Outcome::Watch(responses) => watch(responses, world),
    }
    outcome
}

fn header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

fn range(response: &mut pb::RangeResponse) {
    header(&mut response.header);
    // etcd 3.7 leaves the lease out of answers without values; earlier ones did not.
    response
        .kvs
        .iter_mut()
        .filter(|kv| kv.value.is_empty())
        .for_each(|kv| kv.lease = 0);
}

fn txn(response: &mut pb::TxnResponse) {
    header(&mut response.header);
    for op in &mut response.responses {
        match &mut op.response {
            Some(Response::ResponseRange(response)) => range(response),
            Some(Response::ResponsePut(response)) => header(&mut response.header),
            Some(Response::ResponseDeleteRange(response)) => header(&mut response.header),
            Some(Response::ResponseTxn(response)) => txn(response),
            None => {}
        }
    }
}

fn watch(responses: &mut [pb::WatchResponse], world: World) {
    for response in responses {
        header(&mut response.header);
        // How far a watch that catches up has come is up to the server, and etcd says 0 where it cancels.
        if !response.events.is_empty() || response.compact_revision != 0 {
            response.header = None;
        }
        // What was before the compaction may be gone or not.
        let forgotten = |event: &&mut Event| {
            let revision = event.kv.as_ref().map(|kv| kv.mod_revision);
            revision.is_some_and(|revision| revision <= world.compacted)
        };
        let events = response.events.iter_mut();
        events
            .filter(forgotten)
            .for_each(|event| event.prev_kv = None);
    }
}
