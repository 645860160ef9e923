//! Health and care of the store.

use super::{Services, convert};
use crate::domain::alarm::Alarm;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The etcd whose API is spoken.
const VERSION: &str = "3.7.3";
/// What etcd calls the version of its file format.
pub(super) const STORAGE_VERSION: &str = "3.7.0";

pub(super) struct Maintenance(pub(super) Services);

impl Maintenance {
    /// Refuses, but tells only those who might ask.
    fn unsupported<T, R>(&self, request: &Request<T>, why: &'static str) -> Result<R, Status> {
        self.0.caller(request, Call::Care)?;
        Err(Fault::Unsupported(why).into())
    }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.0.caller(&request, Call::Status)?;
        let engine = &self.0.engine;
        let shared = engine.shared();
        let revision = shared.state().revision;
        let size = shared.size();
        let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let index = revision.unsigned_abs();
        let (raft_term, leader) = self.0.engine.term();
        let alarms = engine
            .alarms()
            .await
            .unwrap_or_else(|_| engine.known_alarms());
        let errors = alarms.iter().map(|alarm| {
            let kind = convert::alarm(alarm).as_str_name();
            format!("memberID:{} alarm:{kind}", shared.member_id)
        });
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.0.header(revision)),
            version: VERSION.to_owned(),
            db_size: bytes(size.total),
            db_size_in_use: bytes(size.in_use),
            db_size_quota: bytes(engine.quota()),
            leader,
            raft_index: index,
            raft_applied_index: index,
            raft_term,
            storage_version: STORAGE_VERSION.to_owned(),
            errors: errors.collect(),
            is_learner: false,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        self.0.caller(&request, Call::Care)?;
        let request = request.into_inner();
        let engine = &self.0.engine;
        let before = engine.alarms().await?;
        let alarm = match request.alarm() {
            pb::AlarmType::None => None,
            pb::AlarmType::Nospace => Some(Alarm::NoSpace),
            pb::AlarmType::Corrupt => Some(Alarm::Corrupt),
        };
        let told: Vec<Alarm> = match (request.action(), alarm) {
            (AlarmAction::Get, wanted) => before
                .iter()
                .filter(|alarm| wanted.is_none_or(|wanted| wanted == *alarm))
                .collect(),
            (_, None) => Vec::new(),
            (AlarmAction::Activate, Some(alarm)) => {
                engine.set_alarm(alarm, true).await?;
                vec![alarm]
            }
            (AlarmAction::Deactivate, Some(alarm)) => {
                engine.set_alarm(alarm, false).await?;
                before.iter().filter(|was| *was == alarm).collect()
            }
        };
        let shared = engine.shared();
        let member = |alarm| pb::AlarmMember {
            member_id: shared.member_id,
            alarm: convert::alarm(alarm).into(),
        };
        Ok(Response::new(pb::AlarmResponse {
            header: Some(self.0.header(shared.state().revision)),
            alarms: told.into_iter().map(member).collect(),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.caller(&request, Call::Care)?;
        let revision = self.0.engine.defragment().await?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::DefragmentResponse { header }))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.0.caller(&request, Call::Care)?;
        let checksum = self.0.engine.checksum_of_all().await?;
        Ok(Response::new(pb::HashResponse {
            header: Some(self.0.header(checksum.newest)),
            hash: checksum.hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.0.caller(&request, Call::Care)?;
        let checksum = self.0.engine.checksum(request.get_ref().revision).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.0.header(checksum.newest)),
            hash: checksum.hash,
            compact_revision: checksum.compacted,
            hash_revision: checksum.revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.0.caller(&request, Call::Care)?;
        Ok(Response::new(self.0.snapshot().await?))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.unsupported(
            &request,
            "who writes is decided where the data is, not by a call: stop the one that writes, and another replica takes over",
        )
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.unsupported(
            &request,
            "versions of datastore-proxy are changed by changing its image",
        )
    }
}
