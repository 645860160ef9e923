//! Members: there is one.

use super::Services;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use sextant_proto::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// Why membership can't be changed.
const FIXED: &str = "members are not added or removed here: the store has one";

pub(super) struct Cluster(pub(super) Services);

impl Cluster {
    fn unsupported<T, R>(&self, request: &Request<T>) -> Result<R, Status> {
        self.0.caller(request, Call::Care)?;
        Err(Fault::Unsupported(FIXED).into())
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.caller(&request, Call::Status)?;
        let shared = self.0.engine.shared();
        let member = pb::Member {
            id: shared.member_id,
            name: "datastore-proxy".to_owned(),
            peer_ur_ls: Vec::new(),
            client_ur_ls: vec![self.0.client_url.clone()],
            is_learner: false,
        };
        let header = Some(self.0.header(shared.state().revision));
        Ok(Response::new(pb::MemberListResponse {
            header,
            members: vec![member],
        }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.unsupported(&request)
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.unsupported(&request)
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.unsupported(&request)
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.unsupported(&request)
    }
}
