//! TLS from files, for a datastore-proxy that runs without cert-authority.

mod incoming;
mod peer;

pub use incoming::{Secured, incoming};
pub use peer::Clients;

use crate::config::TlsFiles;
use crate::error::Error;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sextant_kit::Drain;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// What the three files hold.
#[derive(PartialEq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

/// The TLS of the files, made anew whenever they change. Files that make no TLS are reported and the previous ones
/// stay in force, since files are often replaced one after the other.
pub fn follow(
    files: &TlsFiles,
    drain: &Drain,
) -> Result<watch::Receiver<Arc<ServerConfig>>, Error> {
    let mut contents = read(files)?;
    let (sender, receiver) = watch::channel(Arc::new(config(files, &contents)?));
    let files = files.clone();
    drain.spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let made = read(&files).and_then(|new| {
                let changed = new != contents;
                let made = changed.then(|| config(&files, &new)).transpose()?;
                contents = new;
                Ok(made)
            });
            match made {
                Ok(None) => {}
                Ok(Some(config)) => {
                    tracing::info!("new TLS files are in force for new connections");
                    sender.send_replace(Arc::new(config));
                }
                Err(error) => tracing::error!(%error, "keeping the previous TLS files"),
            }
        }
    });
    Ok(receiver)
}

fn read(files: &TlsFiles) -> Result<Contents, Error> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| unusable(path, error));
    Ok(Contents {
        cert: read(&files.cert)?,
        key: read(&files.key)?,
        client_ca: read(&files.client_ca)?,
    })
}

fn config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, Error> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for anchor in certificates(&files.client_ca, &contents.client_ca)? {
        roots
            .add(anchor)
            .map_err(|error| unusable(&files.client_ca, error))?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&files.client_ca, error))?;
    let chain = certificates(&files.cert, &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|error| unusable(&files.key, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.cert, error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "it holds no certificate"));
    }
    Ok(found)
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::TlsFile {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
