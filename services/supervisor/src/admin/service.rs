//! `Admin`.

use super::{Overviews, certificates, nodes, status};
use crate::certificates::{Issuer, chain_pem, csr};
use crate::config::Part;
use crate::domain::cluster::{ClusterConfig, KUBERNETES_VERSION};
use crate::domain::events::MOST_EVENTS;
use crate::domain::fleet::KubeNodes;
use crate::domain::membership::check_node_name;
use crate::error::{Error, within};
use crate::kube::EventsFollower;
use crate::session::Hub;
use crate::store::mirror::State;
use crate::store::{Datastore, keys};
use crate::telemetry::Everywhere;
use sextant_identity::{Channel, Mesh};
use sextant_proto::certauthority::{ListIssuedRequest, Profile, SignRequest};
use sextant_proto::supervisor::admin_server::Admin;
use sextant_proto::supervisor::*;
use sextant_proto::tokenservice::join_tokens_client::JoinTokensClient;
use sextant_proto::tokenservice::{self, Scope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

const DEADLINE: Duration = Duration::from_secs(10);
/// Certificates in one answer.
const MOST_CERTIFICATES: usize = 20_000;

/// The service; who may call it is decided before.
#[derive(Clone, Debug)]
pub struct AdminService {
    /// Wanted cluster.
    pub cluster: Arc<ClusterConfig>,
    /// Parts to ask for their state.
    pub parts: Vec<Part>,
    /// For cert-authority.
    pub mesh: Mesh,
    /// Makes certificates.
    pub issuer: Issuer,
    /// token-service.
    pub tokens: JoinTokensClient<Channel>,
    /// The registry.
    pub store: Datastore,
    /// A copy of our state.
    pub state: watch::Receiver<Arc<State>>,
    /// Sessions of this replica.
    pub hub: Hub,
    /// Nodes of the API.
    pub kube_nodes: watch::Receiver<Arc<KubeNodes>>,
    /// What the parts do and cost.
    pub overviews: Overviews,
    /// Events of the API.
    pub events: EventsFollower,
    /// What the processes log and export.
    pub telemetry: Everywhere,
    /// `ip:port` of this replica's internal listener.
    pub address: String,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<ClusterStatus>, Status> {
        Ok(Response::new(ClusterStatus {
            cluster_name: self.cluster.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: KUBERNETES_VERSION.to_owned(),
            parts: status::ask_all(&self.parts).await,
        }))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let wanted = request.into_inner();
        if !wanted.node_name.is_empty() {
            check_node_name(&wanted.node_name, &self.cluster).map_err(Status::invalid_argument)?;
        }
        let request = tokenservice::CreateRequest {
            scope: Some(Scope {
                node_name: wanted.node_name,
                cidrs: wanted.cidrs,
                max_uses: wanted.max_uses,
            }),
            description: wanted.description,
            ttl_seconds: wanted.ttl_seconds,
        };
        let mut client = self.tokens.clone();
        let made = asked("token-service: creating a token", client.create(request)).await?;
        let token = made.token.unwrap_or_default();
        Ok(Response::new(CreateTokenResponse {
            token: made.secret,
            id: token.id,
            expires_unix: token.expires_unix,
            supervisors: self.cluster.supervisors.clone(),
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let mut client = self.tokens.clone();
        let request = tokenservice::ListRequest {};
        let listed = asked("token-service: listing tokens", client.list(request)).await?;
        let tokens = listed.tokens.into_iter().map(token_info).collect();
        Ok(Response::new(ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let mut client = self.tokens.clone();
        let request = tokenservice::RevokeRequest {
            id: request.into_inner().id,
        };
        asked("token-service: revoking a token", client.revoke(request)).await?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn list_nodes(
        &self,
        _: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let live = self.hub.watch().borrow().clone();
        let (state, kube) = (
            self.state.borrow().clone(),
            self.kube_nodes.borrow().clone(),
        );
        let nodes = nodes::nodes(&state, &live, &kube, &self.address);
        Ok(Response::new(ListNodesResponse { nodes }))
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        let name = request.into_inner().name;
        if self.store.node(&name).await?.value.is_none() {
            return Err(Status::not_found(format!(
                "no node {name:?} has joined this cluster"
            )));
        }
        self.store.delete(&keys::node(&name)).await?;
        tracing::info!(node = name, "node removed");
        Ok(Response::new(RemoveNodeResponse {}))
    }

    async fn kube_access(
        &self,
        _: Request<KubeAccessRequest>,
    ) -> Result<Response<KubeAccessResponse>, Status> {
        Ok(Response::new(KubeAccessResponse {
            cluster_name: self.cluster.name.clone(),
            server: self.cluster.api.public_url.clone(),
            certificate_authority_pem: self.mesh.trust().borrow().cluster_server_pem(),
        }))
    }

    async fn issue_kube_credential(
        &self,
        request: Request<IssueKubeCredentialRequest>,
    ) -> Result<Response<IssueKubeCredentialResponse>, Status> {
        let request = request.into_inner();
        let csr = csr("csr", &request.csr).map_err(|refusal| refusal.to_status())?;
        let answer = self.issuer.sign(SignRequest {
            profile: Profile::AdminClient.into(),
            csr,
            ttl_seconds: request.ttl_seconds,
            ..SignRequest::default()
        });
        let answer = answer.await?;
        Ok(Response::new(IssueKubeCredentialResponse {
            certificate: chain_pem(&answer),
            not_after_unix: answer.not_after_unix,
        }))
    }

    async fn renew_admin(
        &self,
        request: Request<RenewAdminRequest>,
    ) -> Result<Response<RenewAdminResponse>, Status> {
        let csr = csr("csr", &request.into_inner().csr).map_err(|refusal| refusal.to_status())?;
        let answer = self.issuer.sign(SignRequest {
            profile: Profile::Mesh.into(),
            csr,
            admin: true,
            ..SignRequest::default()
        });
        let answer = answer.await?;
        Ok(Response::new(RenewAdminResponse {
            certificate: chain_pem(&answer),
            not_after_unix: answer.not_after_unix,
        }))
    }

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        let what = "cert-authority: listing certificates";
        let mut client = self.mesh.cert_authority();
        let certificates = async {
            let request = ListIssuedRequest { valid_only: true };
            let mut stream = client.list_issued(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(issued) = stream.message().await? {
                if all.len() >= MOST_CERTIFICATES {
                    break;
                }
                all.push(certificates::info(issued, &self.cluster.addons));
            }
            Ok(Response::new(all))
        };
        let certificates = asked(what, certificates).await?;
        let (certificates, left_out) = certificates::chosen(certificates, request.get_ref());
        Ok(Response::new(ListCertificatesResponse {
            certificates,
            left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
        }))
    }

    async fn overview(
        &self,
        request: Request<OverviewRequest>,
    ) -> Result<Response<OverviewResponse>, Status> {
        let look = async { Ok::<_, Error>(self.overviews.look().await) };
        let overview = within("asking the parts", DEADLINE, look).await?;
        let wanted = usize::try_from(request.get_ref().events).unwrap_or(usize::MAX);
        let (events, events_missing) = self.events.newest(wanted.min(MOST_EVENTS));
        Ok(Response::new(OverviewResponse {
            cluster_name: self.cluster.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: KUBERNETES_VERSION.to_owned(),
            seen_unix_ms: overview.seen_unix_ms,
            replicas: overview.replicas,
            replicas_left_out: u32::try_from(overview.left_out).unwrap_or(u32::MAX),
            events,
            events_missing,
        }))
    }

    async fn change_telemetry(
        &self,
        request: Request<ChangeTelemetryRequest>,
    ) -> Result<Response<ChangeTelemetryResponse>, Status> {
        let outcome = self.telemetry.change(request.into_inner()).await?;
        Ok(Response::new(outcome))
    }
}

async fn asked<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    within(what, DEADLINE, async {
        call.await.map_err(|status| Error::peer(what, status))
    })
    .await
    .map(Response::into_inner)
}

fn token_info(token: tokenservice::Token) -> TokenInfo {
    let scope = token.scope.unwrap_or_default();
    TokenInfo {
        id: token.id,
        node_name: scope.node_name,
        cidrs: scope.cidrs,
        max_uses: scope.max_uses,
        uses: token.uses,
        created_unix: token.created_unix,
        expires_unix: token.expires_unix,
        revoked: token.revoked,
        description: token.description,
    }
}
