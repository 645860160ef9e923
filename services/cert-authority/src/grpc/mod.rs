//! The gRPC faces: CertAuthority, Seal, and Kubernetes' KMS v2.

mod certificates;
mod enrolment;
mod kms;
mod reviews;
mod seal;
mod status;

pub use certificates::Certificates;
pub use enrolment::Enrolment;
pub use kms::Kms;
pub use reviews::Reviews;
pub use seal::Sealing;

use crate::error::Error;
use sextant_identity::{Identity, peer};
use sextant_proto::certauthority::cert_authority_server::CertAuthorityServer;
use sextant_proto::certauthority::seal_server::SealServer;
use sextant_proto::kms::key_management_service_server::KeyManagementServiceServer;
use tonic::service::Routes;

/// No message here is longer.
const MESSAGE_LIMIT: usize = 64 * 1024;

/// All services of this part.
pub fn routes(certificates: Certificates, sealing: Sealing, kms: Kms) -> Routes {
    Routes::new(CertAuthorityServer::new(certificates).max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(SealServer::new(sealing).max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(KeyManagementServiceServer::new(kms).max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(sextant_kit::telemetry::server())
}

/// The caller's identity; the authorization table has let it through already.
fn caller<T>(request: &tonic::Request<T>) -> Result<Identity, Error> {
    peer::identity(request.extensions())
        .cloned()
        .ok_or(Error::NoIdentity)
}
