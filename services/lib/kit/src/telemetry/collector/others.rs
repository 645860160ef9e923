//! TLS with a collector that isn't of the mesh, by files that OpenTelemetry's own variables name. They are read at each
//! connect, so new ones count without a restart.

use super::Connection;
use crate::error::Error;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const AUTHORITIES: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// The variables. They are for this process: exporters of programs that it starts would take them for their sockets, too.
pub const VARIABLES: [&str; 3] = [AUTHORITIES, CERTIFICATE, KEY];

/// All of a connect, with resolving and the handshake.
const DEADLINE: Duration = Duration::from_secs(10);

/// By what both ends know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Whose certificates the collector may have.
    authorities: PathBuf,
    /// Ours and its key, where it wants one.
    client: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Those that are named; `None` where the collector is of the mesh.
    pub(super) fn named(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Option<Self>, Error> {
        let client = match (variable(CERTIFICATE), variable(KEY)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let wrong = format!("{CERTIFICATE} and {KEY} go together: set both or none");
                return Err(Error::Telemetry(wrong));
            }
        };
        match variable(AUTHORITIES) {
            Some(authorities) => Ok(Some(Self {
                authorities,
                client,
            })),
            None if client.is_none() => Ok(None),
            None => Err(Error::Telemetry(format!(
                "{CERTIFICATE} is for a collector that isn't of the mesh: name its authorities in {AUTHORITIES}"
            ))),
        }
    }

    /// Connects to `host:port`, whose certificate must name the host.
    pub(super) async fn dial(self, address: String) -> io::Result<Box<dyn Connection>> {
        let dial = async {
            let config = tokio::task::spawn_blocking(move || self.load());
            let config = config.await.map_err(io::Error::other)??;
            let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
            let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(name, stream).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        };
        match timeout(DEADLINE, dial).await {
            Ok(dialled) => dialled,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn load(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authorities)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
                let config = config.with_client_auth_cert(chain, key);
                config.map_err(io::Error::other)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|error| wrong(file, error))?;
    match found.is_empty() {
        true => Err(wrong(file, "there is no certificate in it")),
        false => Ok(found),
    }
}

fn wrong(file: &Path, found: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {found}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(set: &[(&str, &str)]) -> Result<Option<Files>, String> {
        let path = |name: &str| {
            let found = set.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, path)| PathBuf::from(path))
        };
        Files::named(path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_standard_variables() {
        assert_eq!(named(&[]), Ok(None));
        let authorities = (AUTHORITIES, "/ca.crt");
        let files = |client| Files {
            authorities: "/ca.crt".into(),
            client,
        };
        assert_eq!(named(&[authorities]), Ok(Some(files(None))));
        let (certificate, key) = ((CERTIFICATE, "/tls.crt"), (KEY, "/tls.key"));
        let both = files(Some(("/tls.crt".into(), "/tls.key".into())));
        assert_eq!(named(&[authorities, certificate, key]), Ok(Some(both)));
        for (half, reason) in [
            (&[authorities, certificate][..], "go together"),
            (&[authorities, key], "go together"),
            (&[certificate, key], AUTHORITIES),
        ] {
            let error = named(half).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = std::env::temp_dir().join(format!("sextant-others-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let empty = folder.join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        for file in [folder.join("missing.pem"), empty] {
            let files = Files {
                authorities: file.clone(),
                client: None,
            };
            let error = files.load().unwrap_err().to_string();
            assert!(error.contains(&file.display().to_string()), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
