//! Several control planes on one etcd: each is known there by how far it has compacted, and etcd forgets only what
//! all of them have given up.

use super::plane::Plane;
use super::upstream::{Kind, Pool};
use super::{Backend, commit, kv, read, records};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::error::Error;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::compare::{CompareTarget, TargetUnion};
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Code, Status};

/// A physical compaction may take so long.
const COMPACTION_DEADLINE: Duration = Duration::from_secs(600);
/// Replicas of one plane seldom compact at the same time, and hardly so often.
const TRIES: usize = 5;

/// What is known once the plane is.
pub(super) struct Registered {
    pub(super) header: pb::ResponseHeader,
    pub(super) compacted: i64,
}

/// The planes of an etcd at one revision.
struct Planes {
    header: pb::ResponseHeader,
    compacted: BTreeMap<Bytes, i64>,
    /// When each was written.
    written: BTreeMap<Bytes, i64>,
}

/// Makes the plane known, unless its keys and those of another would mix.
pub(super) async fn register(
    pool: &Pool,
    plane: &Plane,
) -> Result<Result<Registered, Error>, Status> {
    let found = planes(pool).await?;
    if let Some(error) = conflict(plane, &found) {
        return Ok(Err(error));
    }
    let own = found.compacted.get(plane.prefix()).copied();
    if !plane.is_shared() || own.is_some() {
        let compacted = own.unwrap_or_default();
        let header = found.header;
        return Ok(Ok(Registered { header, compacted }));
    }
    record(pool, plane, 0, 0).await?;
    // Somebody else may have done the same in the meantime.
    let found = planes(pool).await?;
    if let Some(error) = conflict(plane, &found) {
        withdraw(pool, plane).await?;
        return Ok(Err(error));
    }
    let (header, compacted) = (found.header, 0);
    Ok(Ok(Registered { header, compacted }))
}

fn conflict(plane: &Plane, found: &Planes) -> Option<Error> {
    let prefix = plane.prefix();
    if !plane.is_shared() {
        let other = found.compacted.keys().next()?;
        return Some(Error::EtcdShared(other.escape_ascii().to_string()));
    }
    let reserved = Bytes::from_static(records::RESERVED);
    let others = found.compacted.keys().chain([&reserved]);
    let other = records::entangled(prefix, others)?;
    Some(Error::EtcdEntangled {
        prefix: prefix.escape_ascii().to_string(),
        other: other.escape_ascii().to_string(),
    })
}

async fn planes(pool: &Pool) -> Result<Planes, Status> {
    let (key, range_end) = KeyRange::below(records::all_compactions()).to_wire();
    let request = pb::RangeRequest {
        key,
        range_end,
        ..pb::RangeRequest::default()
    };
    let answer = read(pool, request).await?;
    let mut planes = Planes {
        header: answer.header.unwrap_or_default(),
        compacted: BTreeMap::new(),
        written: BTreeMap::new(),
    };
    for kv in answer.kvs {
        let Some(prefix) = records::plane_of(&kv.key) else {
            continue;
        };
        // What can't be read holds everything back rather than nothing.
        let compacted = records::revision(&kv.value).unwrap_or_default();
        planes.compacted.insert(prefix.clone(), compacted);
        planes.written.insert(prefix, kv.mod_revision);
    }
    Ok(planes)
}

/// Writes down how far the plane has compacted, if nobody did since `written`.
async fn record(pool: &Pool, plane: &Plane, written: i64, revision: i64) -> Result<bool, Status> {
    let key = records::compaction(plane.prefix());
    let unchanged = pb::Compare {
        key: key.clone(),
        target: CompareTarget::Mod.into(),
        target_union: Some(TargetUnion::ModRevision(written)),
        ..pb::Compare::default()
    };
    let put = pb::PutRequest {
        key,
        value: revision.to_string().into(),
        ..pb::PutRequest::default()
    };
    let txn = pb::TxnRequest {
        compare: vec![unchanged],
        success: vec![pb::RequestOp {
            request: Some(Request::RequestPut(put)),
        }],
        failure: Vec::new(),
    };
    Ok(commit(pool, txn).await?.succeeded)
}

async fn withdraw(pool: &Pool, plane: &Plane) -> Result<(), Status> {
    let request = pb::DeleteRangeRequest {
        key: records::compaction(plane.prefix()),
        ..pb::DeleteRangeRequest::default()
    };
    let call = |channel| {
        let request = request.clone();
        async move { kv(channel).delete_range(request).await }
    };
    pool.call(Kind::Write, call).await.map(drop)
}

impl Backend {
    /// Reads how far this plane has compacted, where that can't be followed.
    pub(super) async fn reload_compaction(&self) -> Result<(), Status> {
        let planes = planes(self.pool()).await?;
        let own = planes.compacted.get(self.plane().prefix());
        self.compacted_to(own.copied().unwrap_or_default());
        Ok(())
    }

    /// Refuses to read what this plane has given up.
    pub(super) fn check_compacted(&self, revision: i64) -> Result<(), Fault> {
        if (1..self.compacted()).contains(&revision) {
            return Err(Fault::Compacted);
        }
        Ok(())
    }

    /// Forgets everything before `revision` for this plane, and in the etcd what no plane needs any more.
    pub(super) async fn compact(
        &self,
        revision: i64,
        physical: bool,
    ) -> Result<pb::CompactionResponse, Status> {
        let found = planes(self.pool()).await?;
        if !self.plane().is_shared() {
            if let Some(error) = conflict(self.plane(), &found) {
                return Err(Status::failed_precondition(error.to_string()));
            }
            let answer = self.compact_etcd(revision, physical).await?;
            self.compacted_to(revision);
            return Ok(answer);
        }
        let header = self.record_compaction(found, revision).await?;
        let planes = planes(self.pool()).await?;
        let lowest = records::lowest(&planes.compacted, self.plane().prefix(), revision);
        if lowest > 0 {
            match self.compact_etcd(lowest, physical).await {
                // Another plane was faster.
                Err(status) if status.code() == Code::OutOfRange => {}
                answer => drop(answer?),
            }
        }
        let header = Some(header);
        Ok(pb::CompactionResponse { header })
    }

    /// etcd's checks of a revision, and the record.
    async fn record_compaction(
        &self,
        mut found: Planes,
        revision: i64,
    ) -> Result<pb::ResponseHeader, Status> {
        let (pool, plane) = (self.pool(), self.plane());
        for _ in 0..TRIES {
            let compacted = found.compacted.get(plane.prefix()).copied();
            if revision <= compacted.unwrap_or_default() {
                return Err(Fault::Compacted.into());
            }
            if revision > found.header.revision {
                return Err(Fault::FutureRevision.into());
            }
            let written = found.written.get(plane.prefix()).copied();
            if record(pool, plane, written.unwrap_or_default(), revision).await? {
                self.compacted_to(revision);
                return Ok(found.header);
            }
            found = planes(pool).await?;
        }
        Err(Fault::TooManyRequests.into())
    }

    async fn compact_etcd(
        &self,
        revision: i64,
        physical: bool,
    ) -> Result<pb::CompactionResponse, Status> {
        let request = pb::CompactionRequest { revision, physical };
        let call = |channel| {
            let request = super::upstream::demanding_leader(request);
            async move { kv(channel).compact(request).await }
        };
        self.pool()
            .call_within(Kind::Write, COMPACTION_DEADLINE, call)
            .await
    }
}
