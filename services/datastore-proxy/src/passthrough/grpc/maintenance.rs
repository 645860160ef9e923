//! Health and care of the etcd. What concerns all of it is for those who have all of it.

use super::Serving;
use super::forward::forward;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use crate::passthrough::upstream::{Channel, Kind};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use sextant_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Why a plane with a prefix doesn't do what all planes would feel.
const SHARED: &str = "this control plane shares its etcd with others, whom this would concern too: \
                      use etcdctl with the etcd itself";
/// A defragmentation may take so long.
const DEFRAGMENT_DEADLINE: Duration = Duration::from_secs(600);

pub(super) struct Maintenance(pub(super) Serving);

fn client(channel: Channel) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(channel).max_decoding_message_size(usize::MAX)
}

impl Maintenance {
    /// Lets those through who may care for the etcd, where that is one plane's alone.
    fn check_care<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.0.caller(request, Call::Care)?;
        if self.0.backend.plane().is_shared() {
            return Err(Fault::Unsupported(SHARED).into());
        }
        Ok(())
    }

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
        let call = |channel| async move { client(channel).status(pb::StatusRequest {}).await };
        let answer = self.0.backend.pool().call(Kind::Read, call).await?;
        Ok(Response::new(answer))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let action = AlarmAction::try_from(request.get_ref().action);
        if action == Ok(AlarmAction::Get) {
            self.0.caller(&request, Call::Status)?;
        } else {
            self.check_care(&request)?;
        }
        let request = request.into_inner();
        let call = |channel| async move { client(channel).alarm(request).await };
        let answer = self.0.backend.pool().call(Kind::Write, call).await?;
        Ok(Response::new(answer))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.check_care(&request)?;
        let call =
            |channel| async move { client(channel).defragment(pb::DefragmentRequest {}).await };
        let pool = self.0.backend.pool();
        let answer = pool.each(DEFRAGMENT_DEADLINE, call).await?;
        Ok(Response::new(answer))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.check_care(&request)?;
        let call = |channel| async move { client(channel).hash(pb::HashRequest {}).await };
        let answer = self.0.backend.pool().call(Kind::Read, call).await?;
        Ok(Response::new(answer))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.check_care(&request)?;
        let request = request.into_inner();
        let call = |channel| async move { client(channel).hash_kv(request).await };
        let answer = self.0.backend.pool().call(Kind::Read, call).await?;
        Ok(Response::new(answer))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.check_care(&request)?;
        let opened =
            self.0.backend.pool().open(|channel| async move {
                client(channel).snapshot(pb::SnapshotRequest {}).await
            });
        let (answers, permit) = opened.await?;
        Ok(Response::new(forward(answers, permit, |piece| piece)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.unsupported(
            &request,
            "etcd's leader is moved with etcdctl, at the etcd itself",
        )
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.unsupported(
            &request,
            "etcd is downgraded with etcdctl, at the etcd itself",
        )
    }
}
