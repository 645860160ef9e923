//! Who is at the other end of an accepted connection. Both types are request extensions.

use crate::identity::Identity;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;

/// The caller's verified identity; absent when the caller showed no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(pub Identity);

/// The caller's connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Remote address.
    pub addr: SocketAddr,
    /// TLS exporter of the connection, label `sextant_proto::join::REJOIN_EXPORTER_LABEL`, no context.
    pub exporter: [u8; 32],
    /// The caller's verified leaf certificate.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

/// The caller's identity, if it showed a certificate.
pub fn identity(extensions: &http::Extensions) -> Option<&Identity> {
    extensions.get::<PeerIdentity>().map(|peer| &peer.0)
}
