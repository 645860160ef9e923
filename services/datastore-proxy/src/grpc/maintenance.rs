//! Health and care of the store.

use super::Services;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The etcd whose API is spoken.
const VERSION: &str = "3.7.0";

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
        let shared = self.0.engine.shared();
        let revision = shared.state().revision;
        let size = shared.size();
        let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let index = revision.unsigned_abs();
        let (raft_term, leader) = self.0.engine.term();
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.0.header(revision)),
            version: VERSION.to_owned(),
            db_size: bytes(size.total),
            db_size_in_use: bytes(size.in_use),
            leader,
            raft_index: index,
            raft_applied_index: index,
            raft_term,
            storage_version: VERSION.to_owned(),
            errors: if shared.is_full() {
                vec!["NOSPACE".to_owned()]
            } else {
                Vec::new()
            },
            ..pb::StatusResponse::default()
        }))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let action = AlarmAction::try_from(request.get_ref().action);
        if action != Ok(AlarmAction::Get) {
            let why = "alarms are not set or cleared: writes go on as soon as there is space";
            return self.unsupported(&request, why);
        }
        self.0.caller(&request, Call::Status)?;
        let shared = self.0.engine.shared();
        let full = pb::AlarmMember {
            member_id: shared.member_id,
            alarm: pb::AlarmType::Nospace.into(),
        };
        let alarms = if shared.is_full() {
            vec![full]
        } else {
            Vec::new()
        };
        let header = Some(self.0.header(shared.state().revision));
        Ok(Response::new(pb::AlarmResponse { header, alarms }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.unsupported(
            &request,
            "free space goes back by itself after each compaction",
        )
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.unsupported(
            &request,
            "this store has one member: there is no hash to compare with",
        )
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.unsupported(
            &request,
            "this store has one member: there is no hash to compare with",
        )
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.unsupported(
            &request,
            "copy the database instead: sqlite3 state.db '.backup copy.db'",
        )
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.unsupported(
            &request,
            "this store has one member: there is no other leader",
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
