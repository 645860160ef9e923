//! Sealing other services' secrets.

use crate::domain::seal::Sealer;
use crate::issuer::Issuer;
use sextant_proto::certauthority::seal_server::Seal;
use sextant_proto::certauthority::{SealRequest, SealResponse, UnsealRequest, UnsealResponse};
use tonic::{Request, Response, Status};

/// The service.
pub struct Sealing {
    sealer: Sealer,
    issuer: Issuer,
}

impl Sealing {
    /// With the keyring's master.
    pub fn new(sealer: Sealer, issuer: Issuer) -> Self {
        Self { sealer, issuer }
    }
}

#[tonic::async_trait]
impl Seal for Sealing {
    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let caller = super::caller(&request)?;
        let SealRequest { plaintext, purpose } = request.into_inner();
        let sealed = self.sealer.seal(&caller, &purpose, &plaintext)?;
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
        match self.sealer.unseal(&caller, &purpose, &sealed) {
            Ok(plaintext) => Ok(Response::new(UnsealResponse {
                plaintext: plaintext.to_vec().into(),
            })),
            Err(error) => {
                self.issuer.refused(&error, &caller.to_string(), "Unseal");
                Err(error.into())
            }
        }
    }
}
