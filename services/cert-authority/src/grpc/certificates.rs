//! Enrolment, renewal, signing, trust, and what was issued.

use super::Enrolment;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::domain::profile::{Profile, Request as IssueRequest};
use crate::error::Error;
use crate::issuer::Issuer;
use crate::store::bootstrap::Bootstrap;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sextant_identity::{PeerInfo, TrustBundle};
use sextant_kit::Drain;
use sextant_proto::certauthority::cert_authority_server::CertAuthority;
use sextant_proto::certauthority::{
    self as proto, CompleteBootstrapRequest, CompleteBootstrapResponse, EnrollRequest,
    EnrollResponse, IssuedCertificate, ListIssuedRequest, RenewRequest, RenewResponse, SignRequest,
    SignResponse, WatchTrustRequest,
};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status};

/// The service.
pub struct Certificates {
    /// Issues.
    pub issuer: Issuer,
    /// Tells of refusals.
    pub audit: Audit,
    /// Says whom a token enrols.
    pub enrolment: Enrolment,
    /// Whether `system:masters` may be asked for.
    pub bootstrap: Bootstrap,
    /// The anchors.
    pub trust: watch::Receiver<Arc<TrustBundle>>,
    /// The time.
    pub clock: Clock,
    /// Ends the streams.
    pub drain: Drain,
}

#[tonic::async_trait]
impl CertAuthority for Certificates {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let peer = request.extensions().get::<PeerInfo>().cloned();
        let EnrollRequest { token, csr } = request.into_inner();
        let identity = self.enrolment.identify(peer.as_ref(), &token).await?;
        let signed = self
            .issuer
            .issue(&IssueRequest::own_mesh(identity), &csr)
            .await?;
        let trust = proto::TrustBundle::from(self.trust.borrow().as_ref());
        Ok(Response::new(EnrollResponse {
            chain: vec![chain(&signed.der)],
            trust: Some(trust),
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let identity = super::caller(&request)?;
        let RenewRequest { csr } = request.into_inner();
        let signed = self
            .issuer
            .issue(&IssueRequest::own_mesh(identity), &csr)
            .await?;
        Ok(Response::new(RenewResponse {
            chain: vec![chain(&signed.der)],
        }))
    }

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let identity = super::caller(&request)?;
        let request = request.into_inner();
        let requester = identity.to_string();
        let mut parsed = IssueRequest::parse(identity, &request)
            .map_err(Error::from)
            .inspect_err(|error| self.audit.refused(error, &requester, "Sign"))?;
        // Only this profile is worth a look at what another replica may have written.
        if parsed.profile == Profile::SupervisorBootstrap {
            parsed.bootstrap_open = self.bootstrap.is_open().await?;
        }
        let signed = self.issuer.issue(&parsed, &request.csr).await?;
        Ok(Response::new(SignResponse {
            chain: vec![chain(&signed.der)],
            not_after_unix: signed.not_after,
        }))
    }

    type WatchTrustStream = BoxStream<'static, Result<proto::TrustBundle, Status>>;

    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        let drain = self.drain.clone();
        let bundles = WatchStream::new(self.trust.clone())
            .map(|bundle| Ok(proto::TrustBundle::from(bundle.as_ref())))
            .take_until(async move { drain.signaled().await });
        Ok(Response::new(bundles.boxed()))
    }

    async fn complete_bootstrap(
        &self,
        request: Request<CompleteBootstrapRequest>,
    ) -> Result<Response<CompleteBootstrapResponse>, Status> {
        let caller = super::caller(&request)?;
        self.bootstrap.complete(self.clock.now()).await?;
        tracing::info!(%caller, "the bootstrap is complete: system:masters is closed for good");
        Ok(Response::new(CompleteBootstrapResponse {}))
    }

    type ListIssuedStream = BoxStream<'static, Result<IssuedCertificate, Status>>;

    async fn list_issued(
        &self,
        request: Request<ListIssuedRequest>,
    ) -> Result<Response<Self::ListIssuedStream>, Status> {
        let valid_only = request.into_inner().valid_only;
        let now = self.clock.now();
        let rows = self
            .issuer
            .log()
            .rows(move |row| !valid_only || row.not_after > now);
        let rows = ReceiverStream::new(rows)
            .map_ok(|(sequence, row)| IssuedCertificate {
                sequence,
                issued_unix: row.issued,
                requester: row.requester,
                profile: Profile::named(&row.profile).map_or(0, |profile| profile.wire() as i32),
                serial: row.serial,
                subject: row.subject,
                sans: row.sans,
                not_before_unix: row.not_before,
                not_after_unix: row.not_after,
                fingerprint: row.fingerprint,
            })
            .map_err(Status::from);
        Ok(Response::new(rows.boxed()))
    }
}

fn chain(leaf: &[u8]) -> Bytes {
    Bytes::copy_from_slice(leaf)
}
