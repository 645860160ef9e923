//! An administrator's first certificate: a token that only those who run the cluster can read, shown to the
//! supervisor over a connection that is pinned before anything secret is sent.
mod hosted;
mod source;
mod tar;

pub use hosted::{Hosted, Place};
pub use source::{Source, Voucher};

use crate::Error;
use crate::reach::{Advice, explain};
use sextant_identity::pin::PinnedClient;
use sextant_proto::join::{AdminEnrollRequest, AdminEnrollResponse};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Shows the voucher and a certificate request (PKCS#10, PEM) to the supervisor at `server`.
///
/// # Errors
/// When nobody answers there, when it isn't this cluster's supervisor, or when it refuses.
pub async fn enrol(
    server: &str,
    voucher: &Voucher,
    csr: String,
    advice: &Advice,
) -> Result<AdminEnrollResponse, Error> {
    let asked = async {
        let mut client = PinnedClient::connect_trusting(server, &voucher.ca_pem).await?;
        let request = AdminEnrollRequest {
            token: voucher.token.to_string(),
            csr,
        };
        client.post("/v1/enroll", None, &request).await
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(sextant_identity::Error::Refused { reason, .. })) => Err(Error::EnrolmentRefused {
            message: reason,
            place: voucher.place.clone(),
            advice: advice.refused.clone(),
        }),
        Ok(Err(sextant_identity::Error::Peer { reason, .. })) => {
            Err(explain(server, reason, advice).await)
        }
        Ok(Err(error)) => Err(explain(server, error.to_string(), advice).await),
        Err(_) => {
            let found = format!("no answer to the enrolment within {} s", DEADLINE.as_secs());
            Err(explain(server, found, advice).await)
        }
    }
}
