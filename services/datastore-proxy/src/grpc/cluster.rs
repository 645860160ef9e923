//! Members: the replicas.

use super::Services;
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use crate::store::replicated::Member;
use sextant_proto::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// Why membership can't be changed.
const FIXED: &str = "members are not added or removed here: start or stop a replica";

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
        let header = Some(self.0.header(shared.state().revision));
        let members = match self.0.engine.replicas() {
            Some(replicas) => replicas.members().await?,
            None => vec![Member {
                id: shared.member_id,
                peer_address: String::new(),
                client_url: self.0.client_url.clone(),
            }],
        };
        Ok(Response::new(pb::MemberListResponse {
            header,
            members: members.into_iter().map(member).collect(),
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

fn member(member: Member) -> pb::Member {
    let peer = Some(member.peer_address).filter(|address| !address.is_empty());
    let scheme = member.client_url.split(':').next().unwrap_or_default();
    pb::Member {
        id: member.id,
        name: "datastore-proxy".to_owned(),
        peer_ur_ls: peer
            .map(|address| format!("{scheme}://{address}"))
            .into_iter()
            .collect(),
        client_ur_ls: vec![member.client_url],
        is_learner: false,
    }
}
