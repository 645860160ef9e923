//! TLS configurations: whole values, made anew from each certificate and each set of anchors.

mod explain;
mod verify;

pub(crate) use explain::{explain, explain_text, utc};
pub(crate) use verify::{Wanted, identity_of};

use crate::error::Error;
use crate::key::Credentials;
use crate::serve::ClientAuth;
use crate::trust::{Authority, TrustBundle};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, LazyLock};
use tokio::sync::watch;

/// Hybrid post-quantum first; classic groups for peers without it.
static KEY_EXCHANGE: &[&dyn SupportedKxGroup] = &[
    kx_group::X25519MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = KEY_EXCHANGE.to_vec();
    Arc::new(provider)
});

/// The cryptography of mesh and datastore.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A certificate and anchors, followed.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) authority: Authority,
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    pub(crate) trust: watch::Receiver<Arc<TrustBundle>>,
}

impl Material {
    /// Follows both sources with a value made from them. A change that makes no valid value is logged and the
    /// previous value kept: a broken renewal must not stop what works.
    pub(crate) fn derive<T, F>(mut self, build: F) -> Result<watch::Receiver<Arc<T>>, Error>
    where
        T: Send + Sync + 'static,
        F: Fn(&Credentials, &TrustBundle) -> Result<T, Error> + Send + 'static,
    {
        let make = move |material: &mut Material| {
            let credentials = Arc::clone(&material.credentials.borrow_and_update());
            let trust = Arc::clone(&material.trust.borrow_and_update());
            build(&credentials, &trust)
        };
        let (sender, receiver) = watch::channel(Arc::new(make(&mut self)?));
        tokio::spawn(async move {
            while self.changed(&sender).await {
                match make(&mut self) {
                    Ok(value) => _ = sender.send_replace(Arc::new(value)),
                    Err(error) => tracing::error!(%error, "keeping the previous TLS configuration"),
                }
            }
        });
        Ok(receiver)
    }

    /// Whether there is a change to look at; false once there can be none, or nobody is left to see it.
    async fn changed<T>(&mut self, sender: &watch::Sender<T>) -> bool {
        let either = async {
            tokio::select! {
                Ok(()) = self.credentials.changed() => true,
                Ok(()) = self.trust.changed() => true,
                else => false,
            }
        };
        tokio::select! {
            changed = either => changed,
            () = sender.closed() => false,
        }
    }
}

/// A client that trusts `anchors` and shows `credentials`, if any.
pub(crate) fn client_config(
    anchors: &[CertificateDer<'static>],
    wanted: Wanted,
    credentials: Option<&Credentials>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let verifier = verify::ServerVerifier::new(roots(anchors)?, wanted);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match credentials {
        Some(credentials) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Every connection proves both identities anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A server that shows `credentials` and verifies callers against the anchors of `authority`.
pub(crate) fn server_config(
    credentials: &Credentials,
    trust: &TrustBundle,
    authority: Authority,
    client: ClientAuth,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let roots = Arc::new(roots(trust.anchors(authority))?);
    let chains = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let chains = match client {
        ClientAuth::Optional => chains.allow_unauthenticated(),
        ClientAuth::Required => chains,
    };
    let chains = chains.build().map_err(|e| Error::Invalid {
        what: format!("{authority:?} anchors"),
        reason: e.to_string(),
    })?;
    let verifier = verify::ClientVerifier::new(chains, trust.trust_domain.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Resumption would skip the verification of the caller.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn roots(anchors: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.clone())?;
    }
    Ok(roots)
}
