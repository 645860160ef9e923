//! The one request that is made without trust: the CA bundle, which its hash then proves.

use super::clock::Skew;
use super::{Answer, HTTP1, exchange, open};
use crate::channel::Dial;
use crate::error::Error;
use crate::tls;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// `/cacerts` of whoever answers at `address`, and how far their clock is from ours.
pub(super) async fn fetch_anchors(address: &str) -> Result<(String, Skew), Error> {
    let algorithms = tls::provider().signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP1.to_vec()];
    let (mut sender, _) = open(address, &Dial::new(config, None)).await?;
    let failed = |reason: String| Error::Peer {
        address: address.to_owned(),
        reason,
    };
    let request = Request::get("/cacerts")
        .header(header::HOST, address)
        .body(Full::<Bytes>::default())
        .map_err(|e| failed(e.to_string()))?;
    let Answer { status, skew, body } = exchange(address, &mut sender, request).await?;
    if !status.is_success() {
        return Err(failed(format!("GET /cacerts: {status}")));
    }
    match String::from_utf8(body.to_vec()) {
        Ok(pem) => Ok((pem, skew)),
        Err(_) => Err(failed("GET /cacerts: the answer isn't text".to_owned())),
    }
}

/// Accepts any certificate: what comes over this connection is believed only for its hash.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
