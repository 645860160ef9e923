//! Whom the load is put on: what a kubeconfig with a certificate in it says.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// A kube-apiserver, or what balances in front of several.
pub(super) struct Server {
    /// `host:port`
    pub address: String,
    pub name: ServerName<'static>,
    pub tls: Arc<ClientConfig>,
}

impl Server {
    /// Reads the first cluster and the first user of a kubeconfig.
    pub fn read(kubeconfig: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config: Value = serde_norway::from_str(&text).context("reading a kubeconfig")?;
        let (cluster, user) = (
            &config["clusters"][0]["cluster"],
            &config["users"][0]["user"],
        );
        let url = cluster["server"].as_str().context("no server")?;
        let url: http::Uri = url.parse().context("the server's URL")?;
        let host = url.host().context("a server without a host")?;
        let bare = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            address: format!("{host}:{}", url.port_u16().unwrap_or(443)),
            name: ServerName::try_from(bare).context("the server's name")?,
            tls: Arc::new(tls(cluster, user)?),
        })
    }
}

fn tls(cluster: &Value, user: &Value) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&decoded(cluster, "certificate-authority-data")?)? {
        roots.add(root)?;
    }
    ensure!(!roots.is_empty(), "the kubeconfig trusts nobody");
    let chain = certificates(&decoded(user, "client-certificate-data")?)?;
    let key = PrivateKeyDer::from_pem_slice(&decoded(user, "client-key-data")?)
        .map_err(|error| anyhow::anyhow!("the client's key: {error}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn decoded(object: &Value, key: &str) -> Result<Vec<u8>> {
    let text = object[key]
        .as_str()
        .with_context(|| format!("no {key} in the kubeconfig"))?;
    STANDARD.decode(text).with_context(|| key.to_owned())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("certificates of the kubeconfig: {error}"))
}
