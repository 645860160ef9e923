//! Whose a lease is: written in the etcd under a key that lives and dies with the lease.

use super::request::NO_LEASE;
use super::{Backend, commit, read, records};
use crate::domain::authz::Caller;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::{CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::Status;

/// How long an owner is remembered: an id can go to another one only after its lease has ended.
const REMEMBERED: Duration = Duration::from_secs(10);
/// So many owners are remembered at most.
const OWNERS: usize = 16_384;

/// Owners that were looked up lately.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<HashMap<i64, (String, Instant)>>);

impl Owners {
    fn find(&self, lease: i64) -> Option<String> {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, at) = owners.get(&lease)?;
        (at.elapsed() < REMEMBERED).then(|| owner.clone())
    }

    fn remember(&self, lease: i64, owner: String) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= OWNERS {
            owners.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if owners.len() >= OWNERS {
            owners.clear();
        }
        owners.insert(lease, (owner, Instant::now()));
    }

    fn forget(&self, lease: i64) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.remove(&lease);
    }
}

impl Backend {
    /// Whether leases of `caller` need an owner: the local user of an etcd that isn't shared may use all.
    pub(super) fn owns_by_record(&self, caller: &Caller) -> bool {
        self.plane().is_shared() || !caller.is_local()
    }

    /// Writes down whose a lease is.
    pub(super) async fn own(&self, lease: i64, caller: &Caller) -> Result<(), Status> {
        let key = records::owner(self.plane().prefix(), lease);
        let absent = pb::Compare {
            key: key.clone(),
            target: CompareTarget::Version.into(),
            target_union: Some(TargetUnion::Version(0)),
            ..pb::Compare::default()
        };
        let put = pb::PutRequest {
            key,
            value: caller.name().to_owned().into(),
            lease,
            ..pb::PutRequest::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![absent],
            success: vec![pb::RequestOp {
                request: Some(Request::RequestPut(put)),
            }],
            failure: Vec::new(),
        };
        let answer = commit(self.pool(), txn).await?;
        if !answer.succeeded {
            let text = format!("the owner of lease {lease} was written down by somebody else");
            return Err(Status::aborted(text));
        }
        self.0.owners.remember(lease, caller.name().to_owned());
        Ok(())
    }

    /// The lease as etcd is asked for it: one that is not of this plane is as good as none. Refused if it is of
    /// another caller.
    pub(super) async fn lease(&self, lease: i64, caller: &Caller) -> Result<i64, Status> {
        if !self.owns_by_record(caller) {
            return Ok(lease);
        }
        let owner = match self.0.owners.find(lease) {
            Some(owner) => Some(owner),
            None => self.look_up(lease).await?,
        };
        match owner {
            Some(owner) => {
                caller.check_owner(lease, &owner)?;
                Ok(lease)
            }
            None => Ok(NO_LEASE),
        }
    }

    /// [`lease`](Self::lease) for what can't be undone: never from memory.
    pub(super) async fn lease_now(&self, lease: i64, caller: &Caller) -> Result<i64, Status> {
        self.0.owners.forget(lease);
        self.lease(lease, caller).await
    }

    /// Those of `leases` that are not of this plane. Refused if one is of another caller.
    pub(super) async fn foreign(
        &self,
        leases: BTreeSet<i64>,
        caller: &Caller,
    ) -> Result<BTreeSet<i64>, Status> {
        let mut foreign = BTreeSet::new();
        for lease in leases {
            if self.lease(lease, caller).await? == NO_LEASE {
                foreign.insert(lease);
            }
        }
        Ok(foreign)
    }

    async fn look_up(&self, lease: i64) -> Result<Option<String>, Status> {
        let request = pb::RangeRequest {
            key: records::owner(self.plane().prefix(), lease),
            ..pb::RangeRequest::default()
        };
        let answer = read(self.pool(), request).await?;
        let Some(kv) = answer.kvs.first() else {
            return Ok(None);
        };
        let owner = String::from_utf8_lossy(&kv.value).into_owned();
        self.0.owners.remember(lease, owner.clone());
        Ok(Some(owner))
    }
}
