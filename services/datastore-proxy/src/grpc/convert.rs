//! Wire ⇄ domain. What comes in is checked here, as etcd checks it, so that the domain needs no second look.

use crate::domain::alarm::Alarm;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{
    Answer, Compare, Delete, Op, Put, Query, RangeAnswer, Relation, RevisionBounds, SortOrder,
    SortTarget, Target, Txn, TxnAnswer,
};
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::range_request as range;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use sextant_proto::etcd::etcdserverpb::response_op::Response;

/// Operations in one list of a transaction, nested ones counted together.
const MAX_OPERATIONS: usize = 128;

pub(crate) fn query(request: pb::RangeRequest) -> Result<Query, Fault> {
    if request.key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    let order = match range::SortOrder::try_from(request.sort_order) {
        Ok(range::SortOrder::None) => SortOrder::None,
        Ok(range::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(range::SortOrder::Descend) => SortOrder::Descend,
        Err(_) => return Err(Fault::InvalidSort),
    };
    let target = match range::SortTarget::try_from(request.sort_target) {
        Ok(range::SortTarget::Key) => SortTarget::Key,
        Ok(range::SortTarget::Version) => SortTarget::Version,
        Ok(range::SortTarget::Create) => SortTarget::Create,
        Ok(range::SortTarget::Mod) => SortTarget::Mod,
        Ok(range::SortTarget::Value) => SortTarget::Value,
        Err(_) => return Err(Fault::InvalidSort),
    };
    Ok(Query {
        range: KeyRange::parse(request.key, request.range_end),
        revision: request.revision,
        limit: request.limit,
        order,
        target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        modified: RevisionBounds {
            min: request.min_mod_revision,
            max: request.max_mod_revision,
        },
        created: RevisionBounds {
            min: request.min_create_revision,
            max: request.max_create_revision,
        },
    })
}

pub(crate) fn put(request: pb::PutRequest) -> Result<Put, Fault> {
    if request.key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Fault::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Fault::LeaseProvided);
    }
    // Copied: what was received is a slice of a larger buffer, which it would keep alive as long as the key lives.
    Ok(Put {
        key: Bytes::copy_from_slice(&request.key),
        value: (!request.ignore_value).then(|| Bytes::copy_from_slice(&request.value)),
        lease: (!request.ignore_lease).then_some(request.lease),
        prev_kv: request.prev_kv,
    })
}

pub(crate) fn delete(request: pb::DeleteRangeRequest) -> Result<Delete, Fault> {
    if request.key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    let range = KeyRange::parse(request.key, request.range_end);
    Ok(Delete {
        range,
        prev_kv: request.prev_kv,
    })
}

pub(crate) fn txn(request: pb::TxnRequest) -> Result<Txn, Fault> {
    let txn = nested(request, MAX_OPERATIONS)?;
    crate::domain::overlap::check(&txn)?;
    Ok(txn)
}

fn nested(request: pb::TxnRequest, allowed: usize) -> Result<Txn, Fault> {
    let pb::TxnRequest {
        compare: compares,
        success,
        failure,
    } = request;
    let operations = compares.len().max(success.len()).max(failure.len());
    let left = allowed
        .checked_sub(operations)
        .ok_or(Fault::TooManyOperations)?;
    let compares = compares
        .into_iter()
        .map(compare)
        .collect::<Result<_, _>>()?;
    let ops = |list: Vec<pb::RequestOp>| -> Result<Vec<Op>, Fault> {
        list.into_iter().map(|request| op(request, left)).collect()
    };
    Ok(Txn {
        compares,
        success: ops(success)?,
        failure: ops(failure)?,
    })
}

fn op(request: pb::RequestOp, allowed: usize) -> Result<Op, Fault> {
    Ok(match request.request {
        Some(Request::RequestRange(request)) => Op::Range(query(request)?),
        Some(Request::RequestPut(request)) => Op::Put(put(request)?),
        Some(Request::RequestDeleteRange(request)) => Op::Delete(delete(request)?),
        Some(Request::RequestTxn(request)) => Op::Txn(nested(request, allowed)?),
        None => return Err(Fault::KeyNotFound),
    })
}

fn compare(request: pb::Compare) -> Result<Compare, Fault> {
    if request.key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    let relation = match CompareResult::try_from(request.result) {
        Ok(CompareResult::Equal) => Relation::Equal,
        Ok(CompareResult::Greater) => Relation::Greater,
        Ok(CompareResult::Less) => Relation::Less,
        Ok(CompareResult::NotEqual) => Relation::NotEqual,
        Err(_) => Relation::Unknown,
    };
    // What the union holds counts only if it is what the target names; else it is 0.
    let number = |wanted: fn(&TargetUnion) -> Option<i64>| {
        request
            .target_union
            .as_ref()
            .and_then(wanted)
            .unwrap_or_default()
    };
    let target = match CompareTarget::try_from(request.target) {
        Ok(CompareTarget::Version) => Target::Version(number(|union| match union {
            TargetUnion::Version(version) => Some(*version),
            _ => None,
        })),
        Ok(CompareTarget::Create) => Target::Create(number(|union| match union {
            TargetUnion::CreateRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Mod) => Target::Mod(number(|union| match union {
            TargetUnion::ModRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Lease) => Target::Lease(number(|union| match union {
            TargetUnion::Lease(lease) => Some(*lease),
            _ => None,
        })),
        Ok(CompareTarget::Value) => match request.target_union {
            Some(TargetUnion::Value(value)) => Target::Value(value),
            _ => Target::Value(Bytes::new()),
        },
        Err(_) => return Err(Fault::Unsupported("this compare target is not known here")),
    };
    Ok(Compare {
        range: KeyRange::parse(request.key, request.range_end),
        target,
        relation,
    })
}

/// `header` makes the header of an answer at a revision.
pub(crate) type Header<'h> = &'h dyn Fn(i64) -> pb::ResponseHeader;

pub(crate) fn range_response(answer: RangeAnswer, header: Header<'_>) -> pb::RangeResponse {
    let RangeAnswer {
        revision,
        kvs,
        more,
        count,
    } = answer;
    pb::RangeResponse {
        header: Some(header(revision)),
        kvs,
        more,
        count,
    }
}

pub(crate) fn txn_response(answer: TxnAnswer, header: Header<'_>) -> pb::TxnResponse {
    let TxnAnswer {
        revision,
        succeeded,
        answers,
    } = answer;
    let responses = answers.into_iter().map(response_op).collect();
    pb::TxnResponse {
        header: Some(header(revision)),
        succeeded,
        responses,
    }
}

/// Within a transaction headers name the revision alone, as in etcd.
fn response_op(answer: Answer) -> pb::ResponseOp {
    let header: Header<'_> = &|revision| pb::ResponseHeader {
        revision,
        ..pb::ResponseHeader::default()
    };
    let response = match answer {
        Answer::Delete {
            revision,
            deleted,
            prev_kvs,
        } => {
            let header = Some(header(revision));
            Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header,
                deleted,
                prev_kvs,
            })
        }
        Answer::Put { revision, prev_kv } => {
            let header = Some(header(revision));
            Response::ResponsePut(pb::PutResponse { header, prev_kv })
        }
        Answer::Range(answer) => Response::ResponseRange(range_response(answer, header)),
        Answer::Txn(answer) => Response::ResponseTxn(txn_response(answer, header)),
    };
    pb::ResponseOp {
        response: Some(response),
    }
}

/// etcd's name of an alarm.
pub fn alarm(alarm: Alarm) -> pb::AlarmType {
    match alarm {
        Alarm::Corrupt => pb::AlarmType::Corrupt,
        Alarm::NoSpace => pb::AlarmType::Nospace,
    }
}
