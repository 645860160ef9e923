//! Asks the component whether it is ready and whether it lives, with the runner's own certificate: anonymous requests
//! are refused.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use sextant_identity::{Credentials, Leaf, Mesh, TrustBundle};
use sextant_kit::metrics::Exposition;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::domain::kubeconfig::Server;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// More of an answer is not read.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest metrics: kube-apiserver's take more than 4 MiB.
const MAX_METRICS: usize = 32 << 20;

/// Headers and body of an answer with 200.
type Answer = (HeaderMap, Bytes);

/// A way to ask the component.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    mesh: Mesh,
    leaf: Leaf,
}

impl Probe {
    pub(crate) fn new(mesh: Mesh, leaf: Leaf) -> Self {
        Self { mesh, leaf }
    }

    /// Ok when the component answers `path` with 200; else what was found instead.
    pub(crate) async fn ask(&self, port: u16, path: &str) -> Result<(), String> {
        self.ask_at(&here(port), path).await
    }

    /// The same of another server.
    pub(crate) async fn ask_at(&self, server: &Server, path: &str) -> Result<(), String> {
        self.get(server, path, MAX_ANSWER).await.map(drop)
    }

    /// The component's own metrics.
    pub(crate) async fn metrics(&self, port: u16) -> Result<Exposition, String> {
        let here = here(port);
        let (headers, body) = self.get(&here, "/metrics", MAX_METRICS).await?;
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Ok(Exposition {
            content_type: content_type.unwrap_or_default().to_owned(),
            body,
        })
    }

    async fn get(&self, server: &Server, path: &str, limit: usize) -> Result<Answer, String> {
        match timeout(DEADLINE, self.exchange(server, path, limit)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "{path} at {} gave no answer within {DEADLINE:?}",
                server.address
            )),
        }
    }

    async fn exchange(&self, server: &Server, path: &str, limit: usize) -> Result<Answer, String> {
        let Server { name, address } = server;
        let failed = |what: &'static str| {
            move |error: &dyn std::fmt::Display| format!("{what} {address}: {error}")
        };
        let trust = self.mesh.trust().borrow().clone();
        let credentials = self.leaf.credentials().borrow().clone();
        let config = tls(&trust, &credentials).map_err(|e| failed("preparing TLS for")(&e))?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|e| failed("dialling")(&e))?;
        let host = ServerName::try_from(name.clone()).map_err(|e| failed("naming")(&e))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(host, stream)
            .await;
        let stream = TokioIo::new(stream.map_err(|e| failed("TLS with")(&e))?);
        let handshake = hyper::client::conn::http1::handshake(stream).await;
        let (mut requests, connection) = handshake.map_err(|e| failed("HTTP with")(&e))?;
        let request = Request::get(path).header(header::HOST, name);
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|e| failed("asking")(&e))?;
        let exchange = async {
            let response = requests.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, hyper::Error>((head, body))
        };
        tokio::select! {
            answer = exchange => match answer.map_err(|e| failed("asking")(&e))? {
                (head, body) if head.status == StatusCode::OK => Ok((head.headers, body)),
                (head, body) => {
                    let text = String::from_utf8_lossy(&body);
                    Err(format!("{path} answered {}: {}", head.status, summary(&text)))
                }
            },
            ended = connection => Err(match ended {
                Ok(()) => format!("asking {address}: the connection ended"),
                Err(error) => failed("asking")(&error),
            }),
        }
    }
}

/// The component beside this runner.
fn here(port: u16) -> Server {
    Server {
        name: "localhost".to_owned(),
        address: format!("127.0.0.1:{port}"),
    }
}

fn tls(trust: &TrustBundle, credentials: &Credentials) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for anchor in &trust.cluster_server {
        roots.add(anchor.clone())?;
    }
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.private_key_der())
}

/// The failing checks of a health answer (`[-]etcd failed: …`), else its first line.
fn summary(text: &str) -> String {
    let failing: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("[-]"))
        .collect();
    let mut found = match failing.as_slice() {
        [] => text.lines().next().unwrap_or_default().to_owned(),
        failing => failing.join("; ").replace(": reason withheld", ""),
    };
    if found.len() > 500 {
        found = found.chars().take(500).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_checks_are_named() {
        let text = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/x failed: reason withheld\nreadyz check failed\n";
        assert_eq!(summary(text), "etcd failed; poststarthook/x failed");
        assert_eq!(summary("Unauthorized\nmore"), "Unauthorized");
        assert_eq!(summary(""), "");
        assert_eq!(summary(&"ä".repeat(1000)).chars().count(), 500);
    }
}
