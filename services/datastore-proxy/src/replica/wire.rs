//! Requests to the writer and its answers, on the wire and back. Transactions travel as etcd's own messages.

use crate::domain::alarm::Alarm;
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{
    Answer, Compare, Delete, Op, Put, Query, RangeAnswer, Relation, SortOrder, SortTarget, Target,
    Txn, TxnAnswer,
};
use crate::engine::{Reply, Request};
use crate::grpc::convert;
use bytes::Bytes;
use sextant_proto::datastore as pb;
use sextant_proto::datastore::submit_request::Work;
use sextant_proto::datastore::submit_response::Outcome;
use sextant_proto::etcd::etcdserverpb as etcd;
use sextant_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::range_request as range;
use sextant_proto::etcd::etcdserverpb::request_op::Request as RequestOp;
use sextant_proto::etcd::etcdserverpb::response_op::Response as ResponseOp;

/// A relation that no version of etcd knows: what this one doesn't know either stays unknown.
const UNKNOWN_RELATION: i32 = i32::MAX;

/// What to send for `request`. `None`: only the writer itself asks for it.
pub fn work(request: &Request) -> Option<Work> {
    Some(match request {
        Request::Compact { revision, physical } => Work::Compact(etcd::CompactionRequest {
            revision: *revision,
            physical: *physical,
        }),
        Request::Alarm { alarm, raised } => Work::Alarm(pb::SetAlarm {
            alarm: convert::alarm(*alarm).into(),
            raised: *raised,
        }),
        Request::Defragment | Request::Expire { .. } => return None,
        Request::Grant { id, ttl } => Work::Grant(etcd::LeaseGrantRequest { id: *id, ttl: *ttl }),
        Request::Renew { id } => Work::Renew(etcd::LeaseKeepAliveRequest { id: *id }),
        Request::Revoke { id } => Work::Revoke(etcd::LeaseRevokeRequest { id: *id }),
        Request::Txn(txn) => Work::Txn(txn_request(txn)),
    })
}

/// The message that carries `work`.
pub fn message(work: Work, caller: &Caller) -> pb::SubmitRequest {
    pb::SubmitRequest {
        caller: caller.name().to_owned(),
        work: Some(work),
    }
}

/// What was asked of the writer's queue. `None`: it is answered without it.
pub fn request(work: Work) -> Result<Option<Request>, Fault> {
    Ok(Some(match work {
        Work::Alarm(set) => Request::Alarm {
            alarm: match set.alarm() {
                etcd::AlarmType::Nospace => Alarm::NoSpace,
                etcd::AlarmType::Corrupt => Alarm::Corrupt,
                etcd::AlarmType::None => return Ok(None),
            },
            raised: set.raised,
        },
        Work::Txn(txn) => Request::Txn(convert::txn(txn)?),
        Work::Compact(etcd::CompactionRequest { revision, physical }) => {
            Request::Compact { revision, physical }
        }
        Work::Grant(etcd::LeaseGrantRequest { id, ttl }) => Request::Grant { id, ttl },
        Work::Renew(etcd::LeaseKeepAliveRequest { id }) => Request::Renew { id },
        Work::Revoke(etcd::LeaseRevokeRequest { id }) => Request::Revoke { id },
        Work::TimeToLive(_) | Work::Leases(_) => return Ok(None),
    }))
}

/// What to answer.
pub fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::Done { revision } => Outcome::Done(revision),
        Reply::Lease { revision, ttl } => Outcome::Lease(pb::Lease { revision, ttl }),
        Reply::Txn(answer) => Outcome::Txn(convert::txn_response(answer, &|revision| {
            etcd::ResponseHeader {
                revision,
                ..etcd::ResponseHeader::default()
            }
        })),
    }
}

/// What was answered, by the writer's queue.
pub fn reply(outcome: Outcome) -> Result<Reply, Fault> {
    match outcome {
        Outcome::Done(revision) => Ok(Reply::Done { revision }),
        Outcome::Lease(pb::Lease { revision, ttl }) => Ok(Reply::Lease { revision, ttl }),
        Outcome::Txn(response) => Ok(Reply::Txn(txn_answer(response))),
        _ => Err(Fault::Stopped),
    }
}

fn txn_request(txn: &Txn) -> etcd::TxnRequest {
    let ops = |ops: &[Op]| ops.iter().map(request_op).collect();
    etcd::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: ops(&txn.success),
        failure: ops(&txn.failure),
    }
}

fn request_op(op: &Op) -> etcd::RequestOp {
    let request = match op {
        Op::Delete(Delete { range, prev_kv }) => {
            let (key, range_end) = bounds(range);
            RequestOp::RequestDeleteRange(etcd::DeleteRangeRequest {
                key,
                range_end,
                prev_kv: *prev_kv,
            })
        }
        Op::Put(Put {
            key,
            value,
            lease,
            prev_kv,
        }) => RequestOp::RequestPut(etcd::PutRequest {
            key: key.clone(),
            value: value.clone().unwrap_or_default(),
            lease: lease.unwrap_or_default(),
            prev_kv: *prev_kv,
            ignore_value: value.is_none(),
            ignore_lease: lease.is_none(),
        }),
        Op::Range(query) => RequestOp::RequestRange(range_request(query)),
        Op::Txn(txn) => RequestOp::RequestTxn(txn_request(txn)),
    };
    etcd::RequestOp {
        request: Some(request),
    }
}

fn range_request(query: &Query) -> etcd::RangeRequest {
    let (key, range_end) = bounds(&query.range);
    let order = match query.order {
        SortOrder::None => range::SortOrder::None,
        SortOrder::Ascend => range::SortOrder::Ascend,
        SortOrder::Descend => range::SortOrder::Descend,
    };
    let target = match query.target {
        SortTarget::Create => range::SortTarget::Create,
        SortTarget::Key => range::SortTarget::Key,
        SortTarget::Mod => range::SortTarget::Mod,
        SortTarget::Value => range::SortTarget::Value,
        SortTarget::Version => range::SortTarget::Version,
    };
    etcd::RangeRequest {
        key,
        range_end,
        limit: query.limit,
        revision: query.revision,
        sort_order: order.into(),
        sort_target: target.into(),
        serializable: false,
        keys_only: query.keys_only,
        count_only: query.count_only,
        min_mod_revision: query.modified.min,
        max_mod_revision: query.modified.max,
        min_create_revision: query.created.min,
        max_create_revision: query.created.max,
    }
}

fn compare(compare: &Compare) -> etcd::Compare {
    let (key, range_end) = bounds(&compare.range);
    let result = match compare.relation {
        Relation::Equal => CompareResult::Equal.into(),
        Relation::Greater => CompareResult::Greater.into(),
        Relation::Less => CompareResult::Less.into(),
        Relation::NotEqual => CompareResult::NotEqual.into(),
        Relation::Unknown => UNKNOWN_RELATION,
    };
    let (target, union) = match &compare.target {
        Target::Create(revision) => (
            CompareTarget::Create,
            TargetUnion::CreateRevision(*revision),
        ),
        Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(*lease)),
        Target::Mod(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
    };
    etcd::Compare {
        result,
        target: target.into(),
        key,
        range_end,
        target_union: Some(union),
    }
}

/// etcd's pair for a range.
fn bounds(range: &KeyRange) -> (Bytes, Bytes) {
    let end = match (range.as_key(), range.end()) {
        (Some(_), _) => Bytes::new(),
        (None, Some(end)) => end.clone(),
        (None, None) => Bytes::from_static(&[0]),
    };
    (range.start().clone(), end)
}

fn revision_of(header: Option<etcd::ResponseHeader>) -> i64 {
    header.unwrap_or_default().revision
}

/// What a transaction did.
pub(crate) fn txn_answer(response: etcd::TxnResponse) -> TxnAnswer {
    let answers = response.responses.into_iter().filter_map(|op| op.response);
    TxnAnswer {
        revision: revision_of(response.header),
        succeeded: response.succeeded,
        answers: answers.map(answer).collect(),
    }
}

fn answer(response: ResponseOp) -> Answer {
    match response {
        ResponseOp::ResponseDeleteRange(response) => Answer::Delete {
            revision: revision_of(response.header),
            deleted: response.deleted,
            prev_kvs: response.prev_kvs,
        },
        ResponseOp::ResponsePut(response) => Answer::Put {
            revision: revision_of(response.header),
            prev_kv: response.prev_kv,
        },
        ResponseOp::ResponseRange(response) => Answer::Range(RangeAnswer {
            revision: revision_of(response.header),
            kvs: response.kvs,
            more: response.more,
            count: response.count,
        }),
        ResponseOp::ResponseTxn(response) => Answer::Txn(txn_answer(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::RevisionBounds;

    #[test]
    fn a_transaction_arrives_as_it_was_sent() {
        let range = |key: &'static str, end: &'static str| KeyRange::parse(key.into(), end.into());
        let query = Query {
            revision: 7,
            limit: 3,
            order: SortOrder::Descend,
            target: SortTarget::Value,
            keys_only: true,
            count_only: true,
            modified: RevisionBounds { min: 1, max: 2 },
            created: RevisionBounds { min: 3, max: 4 },
            ..Query::new(range("a", "\0"))
        };
        let put = |value: Option<&'static str>, lease| {
            Op::Put(Put {
                key: if lease == Some(1) { "p" } else { "q" }.into(),
                value: value.map(Bytes::from),
                lease,
                prev_kv: true,
            })
        };
        let nested = Txn::of(Op::Delete(Delete {
            range: range("b", "c"),
            prev_kv: true,
        }));
        let compares = [
            (Target::Create(1), Relation::Equal),
            (Target::Lease(2), Relation::Greater),
            (Target::Mod(3), Relation::Less),
            (Target::Value("v".into()), Relation::NotEqual),
            (Target::Version(5), Relation::Unknown),
        ];
        let compares = compares.map(|(target, relation)| Compare {
            range: range("k", ""),
            target,
            relation,
        });
        let txn = Txn {
            compares: compares.into(),
            success: vec![Op::Range(query), put(Some(""), Some(1)), put(None, None)],
            failure: vec![Op::Txn(nested)],
        };
        let sent = work(&Request::Txn(txn.clone())).unwrap();
        match request(sent) {
            Ok(Some(Request::Txn(received))) => assert_eq!(received, txn),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent() {
        let nested = TxnAnswer {
            revision: 0,
            succeeded: true,
            answers: vec![Answer::Range(RangeAnswer {
                revision: 4,
                more: true,
                count: 9,
                ..RangeAnswer::default()
            })],
        };
        let answer = Reply::Txn(TxnAnswer {
            revision: 5,
            succeeded: false,
            answers: vec![
                Answer::Txn(nested),
                Answer::Put {
                    revision: 5,
                    prev_kv: None,
                },
                Answer::Delete {
                    revision: 5,
                    deleted: 2,
                    prev_kvs: Vec::new(),
                },
            ],
        });
        assert_eq!(reply(outcome(answer.clone())), Ok(answer));
    }
}
