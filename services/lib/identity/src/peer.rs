//! Who is at the other end of an accepted connection, and whether it stays. All types are request extensions.

use crate::identity::Identity;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

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

/// Tells when the request's connection is asked to go away, for its age or for the drain. Open calls may finish, but
/// the caller's next ones take another connection, behind a balancer perhaps to another replica: a stream that is
/// followed, and whose caller answers in new calls, should end then.
#[derive(Clone, Debug, Default)]
pub struct Leaving(CancellationToken);

impl Leaving {
    /// Resolves once it is.
    pub async fn signaled(&self) {
        self.0.cancelled().await;
    }

    pub(crate) fn signal(&self) {
        self.0.cancel();
    }
}

/// The caller's identity, if it showed a certificate.
pub fn identity(extensions: &http::Extensions) -> Option<&Identity> {
    extensions.get::<PeerIdentity>().map(|peer| &peer.0)
}

/// Whether the caller's connection stays; one that isn't ours does.
pub fn leaving(extensions: &http::Extensions) -> Leaving {
    extensions.get::<Leaving>().cloned().unwrap_or_default()
}
