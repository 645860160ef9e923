//! What the fake cluster's supervisor answers.

use super::cluster::Served;
use sextant_identity::Authority;
use sextant_proto::supervisor as api;
use sextant_proto::supervisor::admin_server::Admin;
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for Served {
    async fn status(&self, _: Request<api::StatusRequest>) -> Answer<api::ClusterStatus> {
        self.note("Status");
        let part = api::PartStatus {
            name: "supervisor".into(),
            address: "127.0.0.1:7443".into(),
            ready: true,
            reasons: Vec::new(),
        };
        Ok(Response::new(api::ClusterStatus {
            cluster_name: "test".into(),
            version: "0.1.0".into(),
            kubernetes_version: "v1.37.2".into(),
            parts: vec![part],
        }))
    }

    async fn create_token(
        &self,
        request: Request<api::CreateTokenRequest>,
    ) -> Answer<api::CreateTokenResponse> {
        self.note(&format!("CreateToken {:?}", request.get_ref()));
        Ok(Response::new(api::CreateTokenResponse {
            token: "K10c0ffee::abcdef:secret".into(),
            id: "abcdef".into(),
            expires_unix: 1_800_000_000,
            supervisors: vec!["sextant.example.org:9443".into()],
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<api::ListTokensRequest>,
    ) -> Answer<api::ListTokensResponse> {
        Err(Status::unavailable("the datastore is away: try again"))
    }

    async fn revoke_token(
        &self,
        request: Request<api::RevokeTokenRequest>,
    ) -> Answer<api::RevokeTokenResponse> {
        match request.into_inner().id.as_str() {
            "abcdef" => Ok(Response::new(api::RevokeTokenResponse {})),
            id => Err(Status::not_found(format!("there is no token {id}"))),
        }
    }

    async fn list_nodes(
        &self,
        _: Request<api::ListNodesRequest>,
    ) -> Answer<api::ListNodesResponse> {
        Ok(Response::new(api::ListNodesResponse::default()))
    }

    async fn remove_node(
        &self,
        request: Request<api::RemoveNodeRequest>,
    ) -> Answer<api::RemoveNodeResponse> {
        self.note(&format!("RemoveNode {}", request.get_ref().name));
        Ok(Response::new(api::RemoveNodeResponse {}))
    }

    async fn kube_access(
        &self,
        _: Request<api::KubeAccessRequest>,
    ) -> Answer<api::KubeAccessResponse> {
        Ok(Response::new(api::KubeAccessResponse {
            cluster_name: "test".into(),
            server: "https://127.0.0.1:6443".into(),
            certificate_authority_pem: self.root.bundle().cluster_server_pem(),
        }))
    }

    async fn issue_kube_credential(
        &self,
        request: Request<api::IssueKubeCredentialRequest>,
    ) -> Answer<api::IssueKubeCredentialResponse> {
        self.note(&format!(
            "IssueKubeCredential {}",
            request.get_ref().ttl_seconds
        ));
        let (certificate, not_after_unix) =
            self.sign(Authority::ClusterClient, &request.get_ref().csr);
        Ok(Response::new(api::IssueKubeCredentialResponse {
            certificate,
            not_after_unix,
        }))
    }

    async fn renew_admin(
        &self,
        request: Request<api::RenewAdminRequest>,
    ) -> Answer<api::RenewAdminResponse> {
        self.note("RenewAdmin");
        let (certificate, not_after_unix) = self.sign(Authority::Mesh, &request.get_ref().csr);
        Ok(Response::new(api::RenewAdminResponse {
            certificate,
            not_after_unix,
        }))
    }

    async fn list_certificates(
        &self,
        _: Request<api::ListCertificatesRequest>,
    ) -> Answer<api::ListCertificatesResponse> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let certificate = api::CertificateInfo {
            requester: "spiffe://td/service/supervisor".into(),
            profile: "PROFILE_MESH".into(),
            sans: vec!["spiffe://td/service/supervisor".into()],
            not_before_unix: now - 80_000,
            not_after_unix: now + 6_400,
            ..Default::default()
        };
        Ok(Response::new(api::ListCertificatesResponse {
            certificates: vec![certificate],
            left_out: 0,
        }))
    }

    async fn change_telemetry(
        &self,
        request: Request<api::ChangeTelemetryRequest>,
    ) -> Answer<api::ChangeTelemetryResponse> {
        let api::ChangeTelemetryRequest { service, change } = request.into_inner();
        self.note(&format!(
            "ChangeTelemetry {service} {:?}",
            change.unwrap_or_default()
        ));
        let replica = |place: &str, error: &str| api::ReplicaTelemetry {
            service: service.clone(),
            place: place.into(),
            settings: error.is_empty().then(Default::default),
            error: error.into(),
        };
        let away = if service == "node-agent" {
            "it has no session"
        } else {
            ""
        };
        let replicas = vec![replica("one", ""), replica("two", away)];
        Ok(Response::new(api::ChangeTelemetryResponse { replicas }))
    }

    async fn overview(
        &self,
        request: Request<api::OverviewRequest>,
    ) -> Answer<api::OverviewResponse> {
        self.note("Overview");
        let replica = api::ReplicaOverview {
            status: Some(api::PartStatus {
                name: "supervisor".into(),
                address: "127.0.0.1:9090".into(),
                ready: true,
                reasons: Vec::new(),
            }),
            version: "0.1.0".into(),
            resident_bytes: 12 << 20,
            ..Default::default()
        };
        let event = api::EventInfo {
            reason: "Started".into(),
            ..Default::default()
        };
        Ok(Response::new(api::OverviewResponse {
            cluster_name: "test".into(),
            version: "0.1.0".into(),
            kubernetes_version: "v1.37.2".into(),
            replicas: vec![replica],
            events: vec![event; usize::min(1, request.get_ref().events as usize)],
            ..Default::default()
        }))
    }
}
