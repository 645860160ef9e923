//! ServiceAccount tokens: the external signer's API, answered by token-service.

use std::{path::Path, sync::Arc, time::Duration};

use sextant_identity::Channel;
use sextant_proto::externaljwt::{
    FetchKeysRequest, FetchKeysResponse, MetadataRequest, MetadataResponse, SignJwtRequest,
    SignJwtResponse, external_jwt_signer_client::ExternalJwtSignerClient,
    external_jwt_signer_server::ExternalJwtSigner,
};
use tonic::{Request, Response, Status};

use super::within;
use crate::kept::Kept;

/// Shorter than the 10 s after which kube-apiserver gives up asking for metadata at its start.
const DEADLINE: Duration = Duration::from_secs(5);
const TOKEN_SERVICE: &str = "token-service";

/// Passes on to token-service and keeps its public answers, which verify tokens while it is away.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    client: ExternalJwtSignerClient<Channel>,
    keys: Arc<Kept<FetchKeysResponse>>,
    metadata: Arc<Kept<MetadataResponse>>,
}

impl Signer {
    pub(super) fn new(channel: Channel, folder: &Path) -> Self {
        Self {
            client: ExternalJwtSignerClient::new(channel),
            keys: Arc::new(Kept::new(folder, "signer-keys.pb")),
            metadata: Arc::new(Kept::new(folder, "signer-metadata.pb")),
        }
    }

    /// Keys and metadata from token-service; both are kept.
    pub(super) async fn fetch_live(&self) -> Result<(), Status> {
        self.live_keys().await?;
        self.live_metadata().await?;
        Ok(())
    }

    /// Keys and metadata from token-service, else those kept.
    pub(super) async fn known(&self) -> Result<(FetchKeysResponse, MetadataResponse), Status> {
        let keys = self.live_keys().await;
        let metadata = self.live_metadata().await;
        Ok((
            or_kept(keys, &self.keys)?,
            or_kept(metadata, &self.metadata)?,
        ))
    }

    async fn live_keys(&self) -> Result<FetchKeysResponse, Status> {
        let mut client = self.client.clone();
        let call = client.fetch_keys(FetchKeysRequest {});
        let keys = within(DEADLINE, TOKEN_SERVICE, call).await?.into_inner();
        if keys.keys.is_empty() {
            return Err(Status::unavailable("token-service has no keys"));
        }
        if self.keys.load().as_ref() != Some(&keys) {
            self.keys.save(&keys);
        }
        Ok(keys)
    }

    async fn live_metadata(&self) -> Result<MetadataResponse, Status> {
        let mut client = self.client.clone();
        let call = client.metadata(MetadataRequest {});
        let metadata = within(DEADLINE, TOKEN_SERVICE, call).await?.into_inner();
        if self.metadata.load() != Some(metadata) {
            self.metadata.save(&metadata);
        }
        Ok(metadata)
    }
}

fn or_kept<M: prost::Message + Default>(
    live: Result<M, Status>,
    kept: &Kept<M>,
) -> Result<M, Status> {
    live.or_else(|status| {
        let found = kept.load().ok_or(status.clone())?;
        tracing::warn!(
            reason = status.message(),
            "token-service is away: answering with what was kept"
        );
        Ok(found)
    })
}

#[tonic::async_trait]
impl ExternalJwtSigner for Signer {
    async fn sign(
        &self,
        request: Request<SignJwtRequest>,
    ) -> Result<Response<SignJwtResponse>, Status> {
        let mut client = self.client.clone();
        within(DEADLINE, TOKEN_SERVICE, client.sign(request.into_inner())).await
    }

    async fn fetch_keys(
        &self,
        _: Request<FetchKeysRequest>,
    ) -> Result<Response<FetchKeysResponse>, Status> {
        or_kept(self.live_keys().await, &self.keys).map(Response::new)
    }

    async fn metadata(
        &self,
        _: Request<MetadataRequest>,
    ) -> Result<Response<MetadataResponse>, Status> {
        or_kept(self.live_metadata().await, &self.metadata).map(Response::new)
    }
}
