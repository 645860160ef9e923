//! Kubernetes' KMS v2. kube-apiserver's runner carries it from a Unix socket.

use crate::audit::Audit;
use crate::domain::kms::KeyEncryption;
use sextant_proto::kms::key_management_service_server::KeyManagementService;
use sextant_proto::kms::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use std::collections::HashMap;
use tonic::{Request, Response, Status};

/// The service.
pub struct Kms {
    key: KeyEncryption,
    audit: Audit,
}

impl Kms {
    /// With the keyring's key.
    pub fn new(key: KeyEncryption, audit: Audit) -> Self {
        Self { key, audit }
    }
}

#[tonic::async_trait]
impl KeyManagementService for Kms {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse {
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            key_id: self.key.id().to_owned(),
        }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let caller = super::caller(&request)?;
        let request = request.into_inner();
        let plaintext = self
            .key
            .decrypt(&request.key_id, &request.ciphertext)
            .inspect_err(|error| {
                self.audit
                    .refused(error, &caller.to_string(), "KMS Decrypt");
            })?;
        Ok(Response::new(DecryptResponse {
            plaintext: plaintext.to_vec().into(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let caller = super::caller(&request)?;
        let plaintext = request.into_inner().plaintext;
        let ciphertext = self.key.encrypt(&plaintext).inspect_err(|error| {
            self.audit
                .refused(error, &caller.to_string(), "KMS Encrypt");
        })?;
        Ok(Response::new(EncryptResponse {
            ciphertext: ciphertext.into(),
            key_id: self.key.id().to_owned(),
            annotations: HashMap::new(),
        }))
    }
}
