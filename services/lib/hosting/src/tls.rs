//! TLS to the hosting cluster: the pod's CA, and the server's name or address in its certificate.

use crate::error::Error;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::sync::Arc;

/// Trusts the anchors of `pem`, which was read from `path`.
pub(crate) fn client_config(pem: &[u8], path: &Path) -> Result<ClientConfig, Error> {
    let broken = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    let anchors: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(format!("not a PEM of certificates ({error})")))?;
    let mut roots = RootCertStore::empty();
    // A bundle may hold an anchor of a kind that we don't know; another one of it may be the server's.
    if let (0, _) = roots.add_parsable_certificates(anchors) {
        return Err(broken("it holds no usable certificate".to_owned()));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    // Hosting clusters are others' and may speak TLS 1.2 only.
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name or address that the server's certificate must have.
pub(crate) fn server_name(address: &str) -> Option<ServerName<'static>> {
    let (host, _) = address.rsplit_once(':')?;
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()
}
