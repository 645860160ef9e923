//! TLS to the etcd, with what its files hold at the moment of each connect.

use crate::error::Error;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to reach an etcd behind `etcd://`. Files are PEM and read anew at each connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdConfig {
    /// The authorities that etcd's certificate may come from; empty: no TLS, and every member must be on a loopback
    /// address.
    pub ca_file: PathBuf,
    /// The certificate that etcd is shown; empty if it wants none.
    pub certificate_file: PathBuf,
    /// The key of that certificate.
    pub key_file: PathBuf,
}

impl EtcdConfig {
    pub(super) fn is_tls(&self) -> bool {
        !self.ca_file.as_os_str().is_empty()
    }

    /// What a connection is made with; `None` is plaintext. Reads the files.
    pub(super) fn load(&self) -> Result<Option<Arc<ClientConfig>>, Error> {
        if !self.is_tls() {
            return Ok(None);
        }
        let ca = &self.ca_file;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(ca, &error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(ca, &error))?
            .with_root_certificates(roots);
        let (certificate, key) = (&self.certificate_file, &self.key_file);
        let is_set = |file: &Path| !file.as_os_str().is_empty();
        let mut config = match (is_set(certificate), is_set(key)) {
            (true, true) => {
                let chain = certificates(certificate)?;
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| unusable(certificate, &error))?
            }
            (false, false) => builder.with_no_client_auth(),
            _ => return Err(Error::EtcdHalfPair),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(file, &error))?;
    if found.is_empty() {
        return Err(unusable(file, &"it holds no certificate"));
    }
    Ok(found)
}

fn unusable(file: &Path, found: &dyn std::fmt::Display) -> Error {
    Error::EtcdFile {
        file: file.to_owned(),
        found: found.to_string(),
    }
}
