//! KMS v2, answered by cert-authority.

use std::time::Duration;

use sextant_identity::Channel;
use sextant_proto::kms::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest,
    StatusResponse, key_management_service_client::KeyManagementServiceClient,
    key_management_service_server::KeyManagementService,
};
use tonic::{Request, Response, Status};

use super::within;

/// As long as kube-apiserver waits unless its encryption configuration says otherwise.
const DEADLINE: Duration = Duration::from_secs(3);
const CERT_AUTHORITY: &str = "cert-authority";

/// Passes on to cert-authority.
#[derive(Clone, Debug)]
pub(super) struct Kms {
    client: KeyManagementServiceClient<Channel>,
}

impl Kms {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            client: KeyManagementServiceClient::new(channel),
        }
    }

    /// Ok when it would encrypt now.
    pub(super) async fn working(&self) -> Result<(), Status> {
        let mut client = self.client.clone();
        let call = client.status(StatusRequest {});
        let status = within(DEADLINE, CERT_AUTHORITY, call).await?.into_inner();
        match status.healthz.as_str() {
            "ok" => Ok(()),
            other => Err(Status::unavailable(format!("cert-authority says: {other}"))),
        }
    }
}

#[tonic::async_trait]
impl KeyManagementService for Kms {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let mut client = self.client.clone();
        within(DEADLINE, CERT_AUTHORITY, client.status(StatusRequest {})).await
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let mut client = self.client.clone();
        within(
            DEADLINE,
            CERT_AUTHORITY,
            client.decrypt(request.into_inner()),
        )
        .await
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let mut client = self.client.clone();
        within(
            DEADLINE,
            CERT_AUTHORITY,
            client.encrypt(request.into_inner()),
        )
        .await
    }
}
