//! The administrator's first certificate, against the token of the private volume `admin`.

use super::routes::JoinApi;
use crate::certificates::{csr, der_chain_pem};
use crate::error::{Error, within};
use crate::refusal::{Refusal, RefusalCode};
use sextant_identity::Identity;
use sextant_proto::certauthority::EnrollRequest;
use sextant_proto::join::{AdminEnrollRequest, AdminEnrollResponse};
use sextant_proto::supervisor::Trust;
use std::time::Duration;
use tonic::Code;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const DEADLINE: Duration = Duration::from_secs(10);

impl JoinApi {
    /// Passes the token on to cert-authority. Only an administrator's certificate leaves through this door:
    /// services enrol where they are, inside.
    pub(super) async fn enroll(
        &self,
        request: AdminEnrollRequest,
    ) -> Result<AdminEnrollResponse, Refusal> {
        let csr = csr("csr", &request.csr)?;
        let mut client = self.mesh.cert_authority();
        let request = EnrollRequest {
            token: request.token,
            csr,
        };
        let call = async { Ok::<_, Error>(client.enroll(request).await) };
        let answer = within("cert-authority: enrolling", DEADLINE, call).await?;
        let answer = answer.map_err(|status| refused(&status))?.into_inner();
        if answer.chain.first().and_then(|leaf| identity(leaf)) != Some(Identity::Admin) {
            return Err(Refusal::new(
                RefusalCode::EnrolmentRefused,
                "this enrolment token is a service's, not the administrator's: use the one of the volume `admin`",
            ));
        }
        tracing::info!("an administrator enrolled");
        Ok(AdminEnrollResponse {
            certificate: der_chain_pem(&answer.chain),
            trust: Trust::from(&**self.trust.borrow()),
        })
    }
}

fn refused(status: &tonic::Status) -> Refusal {
    let code = match status.code() {
        Code::InvalidArgument => RefusalCode::CsrInvalid,
        Code::PermissionDenied | Code::Unauthenticated | Code::NotFound => {
            RefusalCode::EnrolmentRefused
        }
        Code::ResourceExhausted => RefusalCode::TooManyRequests,
        _ => RefusalCode::Unavailable,
    };
    Refusal::new(code, format!("cert-authority: {}", status.message()))
}

fn identity(leaf: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => Identity::from_uri(uri).ok().map(|(_, identity)| identity),
            _ => None,
        })
}
