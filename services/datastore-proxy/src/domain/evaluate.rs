//! Running requests on a batch.
//!
//! As in etcd all conditions, also those of nested transactions, are judged on the state before the transaction;
//! then every step is checked; only then the first write happens, so that a refused transaction wrote nothing.

use super::alarm::Alarm;
use super::authz::Caller;
use super::fault::Fault;
use super::lease::{Lease, LeaseChange, MAX_TTL, MIN_TTL};
use super::pending::Pending;
use super::query::{self, View};
use super::request::{Answer, Compare, Delete, Op, Put, Query, Relation, Target, Txn, TxnAnswer};
use super::state::Changes;
use super::version::Version;
use bytes::Bytes;
use std::cmp::Ordering;

/// Runs a transaction. On a fault nothing of it stays in `pending`.
pub fn transaction(
    pending: &mut Pending<'_>,
    txn: &Txn,
    caller: &Caller,
) -> Result<(TxnAnswer, Changes), Fault> {
    let branches = judge(pending, txn)?;
    check(pending, txn, caller, &mut branches.iter())?;
    match execute(pending, txn, &mut branches.iter()) {
        Ok(mut answer) => {
            answer.revision = pending.revision();
            Ok((answer, pending.finish()))
        }
        Err(fault) => {
            pending.abandon();
            Err(fault)
        }
    }
}

/// Makes a lease.
pub fn grant(
    pending: &mut Pending<'_>,
    id: i64,
    ttl: i64,
    caller: &Caller,
    now: i64,
) -> Result<Changes, Fault> {
    if ttl > MAX_TTL {
        return Err(Fault::TtlTooLarge);
    }
    if pending.lease(id).is_some() {
        return Err(Fault::LeaseExists);
    }
    let ttl = ttl.max(MIN_TTL);
    let deadline = Lease::deadline(ttl, now);
    let lease = Lease {
        id,
        ttl,
        deadline,
        owner: caller.name().to_owned(),
    };
    pending.change_lease(LeaseChange::Granted(lease));
    Ok(pending.finish())
}

/// Renews a lease; answers its whole time to live.
pub fn renew(
    pending: &mut Pending<'_>,
    id: i64,
    caller: &Caller,
    now: i64,
) -> Result<(i64, Changes), Fault> {
    let ttl = match own_lease(pending, id, caller)? {
        lease if lease.is_expired(now) => return Err(Fault::LeaseNotFound),
        lease => lease.ttl,
    };
    pending.change_lease(LeaseChange::Renewed {
        id,
        deadline: Lease::deadline(ttl, now),
    });
    Ok((ttl, pending.finish()))
}

/// Ends a lease and deletes its keys in one revision.
pub fn revoke(pending: &mut Pending<'_>, id: i64, caller: &Caller) -> Result<Changes, Fault> {
    own_lease(pending, id, caller)?;
    for key in pending.keys_of(id) {
        pending.write(&key, None);
    }
    pending.change_lease(LeaseChange::Revoked { id });
    Ok(pending.finish())
}

/// Forgets revisions below `revision`.
pub fn compact(pending: &mut Pending<'_>, revision: i64) -> Result<Changes, Fault> {
    if revision <= pending.compacted() {
        return Err(Fault::Compacted);
    }
    if revision > pending.revision() {
        return Err(Fault::FutureRevision);
    }
    pending.compact(revision);
    Ok(pending.finish())
}

/// Raises or clears an alarm.
pub fn alarm(pending: &mut Pending<'_>, alarm: Alarm, raised: bool) -> Changes {
    pending.set_alarm(alarm, raised);
    pending.finish()
}

/// Ends a lease if its time is over.
pub fn expire(pending: &mut Pending<'_>, id: i64, now: i64) -> Result<Changes, Fault> {
    match pending.lease(id) {
        Some(lease) if lease.is_expired(now) => revoke(pending, id, &Caller::local()),
        _ => Err(Fault::LeaseNotFound),
    }
}

fn own_lease<'p>(pending: &'p Pending<'_>, id: i64, caller: &Caller) -> Result<&'p Lease, Fault> {
    let lease = pending.lease(id).ok_or(Fault::LeaseNotFound)?;
    caller.check_lease(lease)?;
    Ok(lease)
}

/// Which list each transaction runs, in the order in which they are met.
fn judge(pending: &Pending<'_>, txn: &Txn) -> Result<Vec<bool>, Fault> {
    let mut branches = Vec::new();
    judge_into(pending, txn, &mut branches)?;
    Ok(branches)
}

fn judge_into(pending: &Pending<'_>, txn: &Txn, branches: &mut Vec<bool>) -> Result<(), Fault> {
    let mut holds = true;
    for compare in &txn.compares {
        if !compare_holds(pending, compare)? {
            holds = false;
            break;
        }
    }
    branches.push(holds);
    for op in steps(txn, holds) {
        if let Op::Txn(nested) = op {
            judge_into(pending, nested, branches)?;
        }
    }
    Ok(())
}

fn steps(txn: &Txn, holds: bool) -> &[Op] {
    if holds { &txn.success } else { &txn.failure }
}

fn compare_holds(pending: &Pending<'_>, compare: &Compare) -> Result<bool, Fault> {
    let revision = pending.revision();
    let mut result = Ok(true);
    let mut any = false;
    let mut judge = |version: Version| {
        any = true;
        if matches!(result, Ok(true)) {
            result = version_holds(pending, compare, &version);
        }
    };
    match compare.range.as_key() {
        Some(key) => pending.get(key, revision).into_iter().for_each(judge),
        None => pending.scan(&compare.range, revision, &mut |_, version| judge(version)),
    }
    if any {
        return result;
    }
    // There is no value to compare with, and "no value" can't be told from an empty one.
    if matches!(compare.target, Target::Value(_)) {
        return Ok(false);
    }
    version_holds(pending, compare, &Version::tombstone(0, 0))
}

fn version_holds(
    pending: &Pending<'_>,
    compare: &Compare,
    version: &Version,
) -> Result<bool, Fault> {
    let ordering = match &compare.target {
        Target::Create(other) => version.create_revision.cmp(other),
        Target::Lease(other) => version.lease.cmp(other),
        Target::Mod(other) => version.mod_revision.cmp(other),
        Target::Value(other) => pending.value(version.row)?.cmp(other),
        Target::Version(other) => version.version.cmp(other),
    };
    Ok(match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::Greater => ordering == Ordering::Greater,
        Relation::Less => ordering == Ordering::Less,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Unknown => true,
    })
}

/// The list that `txn` runs. Every transaction that was judged has its branch, in the same order.
fn chosen<'t>(txn: &'t Txn, branches: &mut dyn Iterator<Item = &bool>) -> (bool, &'t [Op]) {
    let holds = branches.next().copied().unwrap_or_default();
    (holds, steps(txn, holds))
}

fn check(
    pending: &Pending<'_>,
    txn: &Txn,
    caller: &Caller,
    branches: &mut dyn Iterator<Item = &bool>,
) -> Result<(), Fault> {
    for op in chosen(txn, branches).1 {
        match op {
            Op::Delete(_) => {}
            Op::Put(put) => check_put(pending, put, caller)?,
            Op::Range(query) => {
                query::check_revision(query.revision, pending.revision(), pending.compacted())?;
            }
            Op::Txn(nested) => check(pending, nested, caller, branches)?,
        }
    }
    Ok(())
}

fn check_put(pending: &Pending<'_>, put: &Put, caller: &Caller) -> Result<(), Fault> {
    if let Some(lease) = put.lease
        && lease != 0
    {
        own_lease(pending, lease, caller)?;
    }
    let keeps = put.value.is_none() || put.lease.is_none();
    if keeps && pending.get(&put.key, pending.revision()).is_none() {
        return Err(Fault::KeyNotFound);
    }
    Ok(())
}

fn execute(
    pending: &mut Pending<'_>,
    txn: &Txn,
    branches: &mut dyn Iterator<Item = &bool>,
) -> Result<TxnAnswer, Fault> {
    let (succeeded, ops) = chosen(txn, branches);
    let mut answers = Vec::with_capacity(ops.len());
    for op in ops {
        answers.push(match op {
            Op::Delete(delete) => execute_delete(pending, delete)?,
            Op::Put(put) => execute_put(pending, put)?,
            Op::Range(query) => Answer::Range(query::read(pending, query)?),
            Op::Txn(nested) => Answer::Txn(execute(pending, nested, branches)?),
        });
    }
    Ok(TxnAnswer {
        revision: 0,
        succeeded,
        answers,
    })
}

fn execute_put(pending: &mut Pending<'_>, put: &Put) -> Result<Answer, Fault> {
    let previous = pending.get(&put.key, pending.revision());
    let value = match (&put.value, previous) {
        (Some(value), _) => value.clone(),
        (None, Some(previous)) => pending.value(previous.row)?,
        (None, None) => Bytes::new(),
    };
    let lease = put
        .lease
        .unwrap_or_else(|| previous.map_or(0, |previous| previous.lease));
    let prev_kv = match previous.filter(|_| put.prev_kv) {
        None => None,
        Some(previous) => {
            let value = pending.value(previous.row)?;
            Some(query::key_value(put.key.clone(), &previous, value))
        }
    };
    pending.write(&put.key, Some((value, lease)));
    Ok(Answer::Put {
        revision: pending.revision(),
        prev_kv,
    })
}

fn execute_delete(pending: &mut Pending<'_>, delete: &Delete) -> Result<Answer, Fault> {
    let mut query = Query::new(delete.range.clone());
    query.keys_only = !delete.prev_kv;
    let found = query::read(pending, &query)?.kvs;
    for kv in &found {
        pending.write(&kv.key, None);
    }
    Ok(Answer::Delete {
        revision: pending.revision(),
        deleted: found.len().try_into().unwrap_or(i64::MAX),
        prev_kvs: if delete.prev_kv { found } else { Vec::new() },
    })
}
