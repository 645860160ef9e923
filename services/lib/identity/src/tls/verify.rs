//! Who may stand at the other end: a chain to our anchors, and one SPIFFE id of our trust domain.

use crate::channel::Peer;
use crate::identity::{Identity, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// What a server's certificate must say beside having a chain.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// `None` while the trust domain isn't known yet: the pinned anchors are the cluster's alone.
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) peer: Peer,
}

/// Verifies servers by chain and SPIFFE id; DNS names don't matter.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: RootCertStore,
    wanted: Wanted,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Verifies clients by chain and SPIFFE id.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    trust_domain: TrustDomain,
}

/// A certificate with a good chain names the wrong one, or nobody.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongPeer(String);

impl ServerVerifier {
    pub(super) fn new(roots: RootCertStore, wanted: Wanted) -> Self {
        let algorithms = super::provider().signature_verification_algorithms;
        Self {
            roots,
            wanted,
            algorithms,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let identity = identity_of(end_entity, self.wanted.trust_domain.as_ref())?;
        let right = match &self.wanted.peer {
            Peer::Any => true,
            Peer::Identity(wanted) => *wanted == identity,
            Peer::Service(wanted) => identity == Identity::Service(*wanted),
        };
        if !right {
            let wanted = &self.wanted.peer;
            return Err(wrong_peer(format!(
                "wanted {wanted}, but this is {identity}"
            )));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientVerifier {
    pub(super) fn new(chains: Arc<dyn ClientCertVerifier>, trust_domain: TrustDomain) -> Self {
        Self {
            chains,
            trust_domain,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chains
            .verify_client_cert(end_entity, intermediates, now)?;
        identity_of(end_entity, Some(&self.trust_domain))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// The one SPIFFE id of a certificate, in `trust_domain` if that is known.
pub(crate) fn identity_of(
    certificate: &CertificateDer<'_>,
    trust_domain: Option<&TrustDomain>,
) -> Result<Identity, Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let mut uris = parsed.valid_uri_names();
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(wrong_peer(
            "the certificate must name exactly one URI".to_owned(),
        ));
    };
    let (domain, identity) = Identity::from_uri(uri).map_err(|e| wrong_peer(e.to_string()))?;
    match trust_domain {
        Some(ours) if *ours != domain => Err(wrong_peer(format!(
            "trust domain {domain} isn't ours, {ours}"
        ))),
        _ => Ok(identity),
    }
}

fn wrong_peer(reason: String) -> Error {
    let error = OtherError(Arc::new(WrongPeer(reason)));
    Error::InvalidCertificate(CertificateError::Other(error))
}
