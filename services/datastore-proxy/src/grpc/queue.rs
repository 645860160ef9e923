//! The queue that locks and elections are made of: every contender has a key under one prefix, and the one that
//! was created first has its turn. As etcd's client library makes it, so that both can stand in one queue.

use super::Services;
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{
    Answer, Compare, Delete, Op, Put, Query, RangeAnswer, Relation, RevisionBounds, SortOrder,
    SortTarget, Target, Txn, TxnAnswer,
};
use crate::engine::{Reply, Request as Work};
use crate::watch::follower::Follower;
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::KeyValue;
use std::sync::Arc;

/// Seconds of a lease that is made for a caller who brings none, as in etcd.
const LEASE_SECONDS: i64 = 60;

/// One queue, as one caller sees it.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) services: Services,
    caller: Caller,
    prefix: Bytes,
}

/// A place in a queue.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Bytes,
    pub(super) lease: i64,
    /// The revision that created the key: smaller ones are served before.
    pub(super) revision: i64,
    /// The store's revision when it was taken.
    pub(super) taken_at: i64,
    /// What the key held already, if the lease had this place before.
    pub(super) before: Option<Bytes>,
}

impl Queue {
    /// The queue of that name.
    pub(super) fn new(services: Services, caller: Caller, name: &[u8]) -> Self {
        Self {
            services,
            caller,
            prefix: [name, b"/"].concat().into(),
        }
    }

    /// Every key of the queue that the caller may see.
    pub(super) fn range(&self) -> Result<KeyRange, Fault> {
        let mut end = self.prefix.to_vec();
        // The prefix ends with a slash.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.caller
            .clip(&KeyRange::parse(self.prefix.clone(), end.into()))
    }

    /// Stands in line with `lease`, or with a new one if that is 0. A lease stands in a queue once.
    pub(super) async fn enter(&self, lease: i64, value: Bytes) -> Result<Place, Fault> {
        let lease = self.renewed(lease).await?;
        let key = Bytes::from([&self.prefix[..], format!("{lease:x}").as_bytes()].concat());
        let put = Put {
            key: key.clone(),
            value: Some(value),
            lease: Some(lease),
            prev_kv: false,
        };
        let txn = Txn {
            compares: vec![created(&key, 0)],
            success: vec![Op::Put(put)],
            failure: vec![Op::Range(Query::new(KeyRange::key(key.clone())))],
        };
        let answer = self.run(txn).await?;
        let found = match answer.answers.into_iter().next() {
            Some(Answer::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        Ok(Place {
            key,
            lease,
            revision: found
                .as_ref()
                .map_or(answer.revision, |kv| kv.create_revision),
            taken_at: answer.revision,
            before: found.map(|kv| kv.value),
        })
    }

    /// The lease with all its time again, or a new one.
    async fn renewed(&self, lease: i64) -> Result<i64, Fault> {
        let engine = &self.services.engine;
        let caller = self.caller.clone();
        if lease != 0 {
            return match engine.submit(Work::Renew { id: lease }, caller).await {
                // Putting the key tells.
                Ok(_) | Err(Fault::LeaseNotFound) => Ok(lease),
                Err(fault) => Err(fault),
            };
        }
        let id = rand::random_range(1..i64::MAX);
        let ttl = LEASE_SECONDS;
        engine.submit(Work::Grant { id, ttl }, caller).await?;
        Ok(id)
    }

    /// Waits until nobody is before `place`. Whoever stops waiting leaves the queue.
    pub(super) async fn wait(&self, place: &Place) -> Result<(), Fault> {
        let leaving = Leaving(Some((self.clone(), place.clone())));
        let drain = self.services.drain.clone();
        drain
            .run(self.wait_for_turn(place))
            .await
            .unwrap_or(Err(Fault::Stopped))?;
        leaving.stay();
        Ok(())
    }

    async fn wait_for_turn(&self, place: &Place) -> Result<(), Fault> {
        // Only the one right before is waited for, so that a turn wakes one and not all.
        let mut before = Query {
            limit: 1,
            order: SortOrder::Descend,
            target: SortTarget::Create,
            ..Query::new(self.range()?)
        };
        before.created = RevisionBounds {
            min: 0,
            max: place.revision - 1,
        };
        loop {
            let RangeAnswer { kvs, revision, .. } = self.read(&before).await?;
            // Where 0 bounds nothing, the place itself may be found.
            let ahead = kvs
                .into_iter()
                .find(|kv| kv.create_revision < place.revision);
            match ahead {
                Some(ahead) => self.gone(ahead.key, revision + 1).await?,
                None => return Ok(()),
            }
        }
    }

    /// Waits until `key` is deleted.
    async fn gone(&self, key: Bytes, from: i64) -> Result<(), Fault> {
        let mut follower = Follower::new(self.services.engine.shared(), KeyRange::key(key), from);
        loop {
            match follower.next().await {
                Ok(changes) if changes.iter().any(|change| change.deleted) => return Ok(()),
                Ok(_) => {}
                // Whether it is still there must be looked up.
                Err(Fault::Compacted) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Who has the turn.
    pub(super) async fn first(&self) -> Result<(Option<KeyValue>, i64), Fault> {
        let query = Query {
            limit: 1,
            order: SortOrder::Ascend,
            target: SortTarget::Create,
            ..Query::new(self.range()?)
        };
        let answer = self.read(&query).await?;
        Ok((answer.kvs.into_iter().next(), answer.revision))
    }

    /// Gives a place up, if it is still the same; tells the revision.
    pub(super) async fn leave(&self, key: &Bytes, revision: i64) -> Result<i64, Fault> {
        let delete = Delete {
            range: KeyRange::key(key.clone()),
            prev_kv: false,
        };
        let txn = Txn {
            compares: vec![created(key, revision)],
            success: vec![Op::Delete(delete)],
            failure: Vec::new(),
        };
        Ok(self.run(txn).await?.revision)
    }

    /// Changes what a place says; `None` if it isn't the same any more.
    pub(super) async fn say(
        &self,
        key: &Bytes,
        revision: i64,
        lease: i64,
        value: Bytes,
    ) -> Result<Option<i64>, Fault> {
        let put = Put {
            key: key.clone(),
            value: Some(value),
            lease: Some(lease),
            prev_kv: false,
        };
        let txn = Txn {
            compares: vec![created(key, revision)],
            success: vec![Op::Put(put)],
            failure: Vec::new(),
        };
        let answer = self.run(txn).await?;
        Ok(answer.succeeded.then_some(answer.revision))
    }

    /// Reads keys of the caller's.
    pub(super) async fn read(&self, query: &Query) -> Result<RangeAnswer, Fault> {
        let range = self.caller.clip(&query.range)?;
        let query = Query {
            range,
            ..query.clone()
        };
        self.services.engine.confirm().await?;
        self.services.engine.range(&query, false).await
    }

    pub(super) async fn run(&self, mut txn: Txn) -> Result<TxnAnswer, Fault> {
        self.caller.clip_txn(&mut txn)?;
        let caller = self.caller.clone();
        match self.services.engine.submit(Work::Txn(txn), caller).await? {
            Reply::Txn(answer) => Ok(answer),
            _ => Err(Fault::Stopped),
        }
    }

    /// Follows one key.
    pub(super) fn follow(&self, range: KeyRange, from: i64) -> Result<Follower, Fault> {
        let range = self.caller.clip(&range)?;
        Ok(Follower::new(
            &Arc::clone(self.services.engine.shared()),
            range,
            from,
        ))
    }
}

fn created(key: &Bytes, revision: i64) -> Compare {
    Compare {
        range: KeyRange::key(key.clone()),
        target: Target::Create(revision),
        relation: Relation::Equal,
    }
}

/// Leaves the queue when dropped: also a client that hangs up stops waiting.
struct Leaving(Option<(Queue, Place)>);

impl Leaving {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some((queue, place)) = self.0.take() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(fault) = queue.leave(&place.key, place.revision).await {
                tracing::warn!(%fault, lease = place.lease, "a place in a queue stays until its lease ends");
            }
        });
    }
}
