//! Upstream's external signer of ServiceAccount tokens.

use std::sync::Arc;

use prost_types::Timestamp;
use sextant_proto::externaljwt::{
    FetchKeysRequest, FetchKeysResponse, Key, MetadataRequest, MetadataResponse, SignJwtRequest,
    SignJwtResponse, external_jwt_signer_server::ExternalJwtSigner,
};
use tonic::{Request, Response, Status};

use crate::{
    clock::Clock, domain::claims::ClaimsPolicy, error::Error, keys::Keys, metrics::TokenMetrics,
};

/// How soon kube-apiserver should ask for keys again. One that it doesn't know makes it ask at once.
const REFRESH_SECONDS: i64 = 60;

/// Answers from keys in memory: a datastore that is away stops no token.
#[derive(Clone, Debug)]
pub struct SignerService {
    /// The keys.
    pub keys: Arc<Keys>,
    /// What is signed.
    pub policy: Arc<ClaimsPolicy>,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: TokenMetrics,
}

impl SignerService {
    fn sign_claims(&self, claims: &str) -> Result<SignJwtResponse, Error> {
        self.policy.check(claims, self.clock.unix())?;
        let (header, signature) = self.keys.signing.sign(claims)?;
        Ok(SignJwtResponse { header, signature })
    }
}

#[tonic::async_trait]
impl ExternalJwtSigner for SignerService {
    async fn sign(
        &self,
        request: Request<SignJwtRequest>,
    ) -> Result<Response<SignJwtResponse>, Status> {
        let signed = self.sign_claims(&request.into_inner().claims);
        self.metrics.signed(&signed);
        if let Err(error) = &signed {
            tracing::warn!(%error, "no signature");
        }
        Ok(Response::new(signed?))
    }

    async fn fetch_keys(
        &self,
        _: Request<FetchKeysRequest>,
    ) -> Result<Response<FetchKeysResponse>, Status> {
        let signing = &self.keys.signing;
        let key = Key {
            key_id: signing.id.clone(),
            key: signing.public.clone().into(),
            exclude_from_oidc_discovery: false,
        };
        let seconds = signing.created;
        Ok(Response::new(FetchKeysResponse {
            keys: vec![key],
            data_timestamp: Some(Timestamp { seconds, nanos: 0 }),
            refresh_hint_seconds: REFRESH_SECONDS,
        }))
    }

    async fn metadata(
        &self,
        _: Request<MetadataRequest>,
    ) -> Result<Response<MetadataResponse>, Status> {
        let max_token_expiration_seconds = self.policy.max_seconds;
        Ok(Response::new(MetadataResponse {
            max_token_expiration_seconds,
        }))
    }
}
