//! The queue that locks and elections are made of: every contender has a key under one prefix, and the one that
//! was created first has its turn. As etcd's client library makes it, so that both can stand in one queue.

use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{
    Answer, Compare, Delete, Op, Put, Query, RangeAnswer, Relation, RevisionBounds, SortOrder,
    SortTarget, Target, Txn, TxnAnswer,
};
use crate::watch::follower::Follower;
use crate::watch::source::{PastError, Source};
use bytes::Bytes;
use sextant_kit::Drain;
use sextant_proto::etcd::mvccpb::KeyValue;
use tonic::{Request, Status};

/// What queues are kept in. Ranges and transactions are cut to the caller already.
#[tonic::async_trait]
pub(crate) trait Store: Clone + Send + Sync + 'static {
    /// What tells of changes.
    type Source: Source;

    /// Where changes are heard of.
    fn source(&self) -> &Self::Source;
    /// Who asks, if the table lets it.
    fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status>;
    /// Ends the waiting.
    fn drain(&self) -> &Drain;
    /// Reads what every acknowledged write has left.
    async fn read(&self, query: &Query) -> Result<RangeAnswer, Status>;
    /// Does a transaction.
    async fn run(&self, txn: Txn, caller: &Caller) -> Result<TxnAnswer, Status>;
    /// Makes a lease of so many seconds.
    async fn grant(&self, seconds: i64, caller: &Caller) -> Result<i64, Status>;
    /// Gives a lease all its time again; one that isn't there is no error.
    async fn renew(&self, lease: i64, caller: &Caller) -> Result<(), Status>;
}

/// Seconds of a lease that is made for a caller who brings none, as in etcd.
const LEASE_SECONDS: i64 = 60;

/// One queue, as one caller sees it.
#[derive(Clone)]
pub(super) struct Queue<S> {
    pub(super) store: S,
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

impl<S: Store> Queue<S> {
    /// The queue of that name.
    pub(super) fn new(store: S, caller: Caller, name: &[u8]) -> Self {
        Self {
            store,
            caller,
            prefix: [name, b"/"].concat().into(),
        }
    }

    /// Every key of the queue that the caller may see.
    pub(super) fn range(&self) -> Result<KeyRange, Status> {
        let mut end = self.prefix.to_vec();
        // The prefix ends with a slash.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let range = KeyRange::parse(self.prefix.clone(), end.into());
        Ok(self.caller.clip(&range)?)
    }

    /// Stands in line with `lease`, or with a new one if that is 0. A lease stands in a queue once.
    pub(super) async fn enter(&self, lease: i64, value: Bytes) -> Result<Place, Status> {
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
    async fn renewed(&self, lease: i64) -> Result<i64, Status> {
        if lease == 0 {
            return self.store.grant(LEASE_SECONDS, &self.caller).await;
        }
        // Where it has ended, putting the key tells.
        self.store.renew(lease, &self.caller).await?;
        Ok(lease)
    }

    /// Waits until nobody is before `place`. Whoever stops waiting leaves the queue.
    pub(super) async fn wait(&self, place: &Place) -> Result<(), Status> {
        let leaving = Leaving(Some((self.clone(), place.clone())));
        let waited = self.store.drain().run(self.wait_for_turn(place)).await;
        waited.unwrap_or_else(|| Err(Fault::Stopped.into()))?;
        leaving.stay();
        Ok(())
    }

    async fn wait_for_turn(&self, place: &Place) -> Result<(), Status> {
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
    async fn gone(&self, key: Bytes, from: i64) -> Result<(), Status> {
        let mut follower = Follower::new(self.store.source().clone(), KeyRange::key(key), from);
        loop {
            match follower.next().await {
                Ok(changes) if changes.iter().any(|change| change.deleted) => return Ok(()),
                Ok(_) => {}
                // Whether it is still there must be looked up.
                Err(PastError::Compacted(_)) => return Ok(()),
                Err(PastError::Failed(status)) => return Err(status),
            }
        }
    }

    /// Who has the turn.
    pub(super) async fn first(&self) -> Result<(Option<KeyValue>, i64), Status> {
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
    pub(super) async fn leave(&self, key: &Bytes, revision: i64) -> Result<i64, Status> {
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
    ) -> Result<Option<i64>, Status> {
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
    pub(super) async fn read(&self, query: &Query) -> Result<RangeAnswer, Status> {
        let range = self.caller.clip(&query.range)?;
        let query = Query {
            range,
            ..query.clone()
        };
        self.store.read(&query).await
    }

    pub(super) async fn run(&self, mut txn: Txn) -> Result<TxnAnswer, Status> {
        self.caller.clip_txn(&mut txn)?;
        self.store.run(txn, &self.caller).await
    }

    /// Follows one key.
    pub(super) fn follow(&self, range: KeyRange, from: i64) -> Result<Follower<S::Source>, Status> {
        let range = self.caller.clip(&range)?;
        Ok(Follower::new(self.store.source().clone(), range, from))
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
struct Leaving<S: Store>(Option<(Queue<S>, Place)>);

impl<S: Store> Leaving<S> {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl<S: Store> Drop for Leaving<S> {
    fn drop(&mut self) {
        let Some((queue, place)) = self.0.take() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(status) = queue.leave(&place.key, place.revision).await {
                tracing::warn!(%status, lease = place.lease, "a place in a queue stays until its lease ends");
            }
        });
    }
}
