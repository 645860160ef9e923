//! Sealing other services' secrets.

use crate::audit::Audit;
use crate::domain::seal::Sealer;
use sextant_proto::certauthority::seal_server::Seal;
use sextant_proto::certauthority::{SealRequest, SealResponse, UnsealRequest, UnsealResponse};
use tonic::{Request, Response, Status};

/// The service.
pub struct Sealing {
    sealer: Sealer,
    audit: Audit,
}

impl Sealing {
    /// With the keyring's master.
    pub fn new(sealer: Sealer, audit: Audit) -> Self {
        Self { sealer, audit }
    }
}

#[tonic::async_trait]
impl Seal for Sealing {
    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let caller = super::caller(&request)?;
        let SealRequest { plaintext, purpose } = request.into_inner();
        let sealed = self
            .sealer
            .seal(&caller, &purpose, &plaintext)
            .inspect_err(|error| {
                self.audit.refused(error, &caller.to_string(), "Seal");
            })?;
        Ok(Response::new(SealResponse {
            sealed: sealed.into(),
        }))
    }

    async fn unseal(
        &self,
        request: Request<UnsealRequest>,
    ) -> Result<Response<UnsealResponse>, Status> {
        let caller = super::caller(&request)?;
        let UnsealRequest { sealed, purpose } = request.into_inner();
        let plaintext = self
            .sealer
            .unseal(&caller, &purpose, &sealed)
            .inspect_err(|error| {
                self.audit.refused(error, &caller.to_string(), "Unseal");
            })?;
        Ok(Response::new(UnsealResponse {
            plaintext: plaintext.to_vec().into(),
        }))
    }
}
