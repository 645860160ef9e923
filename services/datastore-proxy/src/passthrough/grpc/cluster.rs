//! Members: clients are told of this one alone, since etcd's own would let them past the authorization.

use super::Serving;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use sextant_proto::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// Why membership can't be changed.
const ELSEWHERE: &str =
    "members are not added or removed here: ask the etcd behind this datastore-proxy, with etcdctl";

pub(super) struct Cluster(pub(super) Serving);

impl Cluster {
    fn unsupported<T, R>(&self, request: &Request<T>) -> Result<R, Status> {
        self.0.caller(request, Call::Care)?;
        Err(Fault::Unsupported(ELSEWHERE).into())
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.caller(&request, Call::Status)?;
        let backend = &self.0.backend;
        let header = backend.header(backend.newest_of_etcd().await?);
        let member = pb::Member {
            id: header.member_id,
            name: "datastore-proxy".to_owned(),
            peer_ur_ls: Vec::new(),
            client_ur_ls: vec![self.0.client_url.clone()],
            is_learner: false,
        };
        Ok(Response::new(pb::MemberListResponse {
            header: Some(header),
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
