//! A client of the Kubernetes API under the kubelet's identity.

use crate::error::Error;
use crate::store::{Purpose, State};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest exchange.
const DEADLINE: Duration = Duration::from_secs(15);
/// Largest answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Asks the API with the kubelet's certificate, which may only touch this node and its pods.
#[derive(Clone, Debug)]
pub struct ApiClient {
    address: SocketAddr,
    state: State,
}

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body, or null.
    pub body: Value,
}

impl ApiClient {
    /// A client of the API at `address`.
    pub fn new(address: SocketAddr, state: State) -> Self {
        Self { address, state }
    }

    /// One request; an error means that there was no answer.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Answer, Error> {
        let what = format!("{method} {path} at {}", self.address);
        let exchange = self.exchange(method, path, content_type, body);
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::Api(format!("{what}: {error:#}"))),
            Err(_) => Err(Error::Api(format!(
                "{what}: no answer within {} s",
                DEADLINE.as_secs()
            ))),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let tls = TlsConnector::from(Arc::new(tls(&self.state)?));
        let stream = TcpStream::connect(self.address).await?;
        let stream = tls
            .connect(ServerName::from(self.address.ip()), stream)
            .await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
        let content = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("accept", "application/json")
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(content)))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!(e))?
            .to_bytes();
        drop(connection);
        Ok(Answer {
            status,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }
}

/// The kubelet's certificate towards servers of the cluster.
pub fn tls(state: &State) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(state.cluster_server_ca())? {
        roots.add(anchor?)?;
    }
    let pem = state.pem(Purpose::KubeletClient);
    let chain = CertificateDer::pem_file_iter(&pem)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?)
}
