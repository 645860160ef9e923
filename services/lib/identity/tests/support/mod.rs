//! A mesh on loopback: listeners with a small service, and callers of every kind.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

pub mod authority;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use sextant_identity::{
    Authority, CertificateDer, Channel, ClientAuth, Error, Identity, Mesh, NodeName, Peer,
    ServerTls, ServiceName, peer, serve_grpc,
};
use sextant_kit::{Drain, DrainTrigger};
use sextant_proto::certauthority::seal_client::SealClient;
use sextant_proto::certauthority::seal_server::{Seal, SealServer};
use sextant_proto::certauthority::{SealRequest, SealResponse, UnsealRequest, UnsealResponse};
use sextant_testkit::Root;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::service::Routes;
use tonic::{Code, Request as Call, Response, Status};

pub const DEADLINE: Duration = Duration::from_secs(10);

/// A listener that serves until drained.
pub struct Server {
    pub address: SocketAddr,
    pub trigger: DrainTrigger,
    pub task: JoinHandle<Result<(), Error>>,
}

impl Server {
    /// cert-authority's Seal service with TLS of `tls`.
    pub async fn start(tls: ServerTls) -> Self {
        Self::with(tls, Routes::new(SealServer::new(Echo))).await
    }

    pub async fn with(tls: ServerTls, routes: Routes) -> Self {
        let (drain, trigger) = Drain::new();
        let listener = loopback().await;
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve_grpc(listener, tls, routes, drain));
        Self {
            address,
            trigger,
            task,
        }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

pub async fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Seals by naming the caller, so that tests see who it was.
pub struct Echo;

#[tonic::async_trait]
impl Seal for Echo {
    async fn seal(&self, call: Call<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let caller = peer::identity(call.extensions()).map(ToString::to_string);
        let sealed = caller.unwrap_or_else(|| "nobody".to_owned()).into();
        Ok(Response::new(SealResponse { sealed }))
    }

    async fn unseal(&self, call: Call<UnsealRequest>) -> Result<Response<UnsealResponse>, Status> {
        let info = call
            .extensions()
            .get::<sextant_identity::PeerInfo>()
            .unwrap();
        Ok(Response::new(UnsealResponse {
            plaintext: info.exporter.to_vec().into(),
        }))
    }
}

/// Who the server says we are.
pub async fn who_am_i(channel: Channel) -> Result<String, Status> {
    let mut client = SealClient::new(channel);
    let answer = tokio::time::timeout(DEADLINE, client.seal(SealRequest::default())).await;
    let sealed = answer.expect("an answer in time")?.into_inner().sealed;
    Ok(String::from_utf8(sealed.to_vec()).unwrap())
}

pub fn supervisor() -> Identity {
    ServiceName::Supervisor.into()
}

pub fn cert_authority() -> Peer {
    Peer::Service(ServiceName::CertAuthority)
}

pub fn node(name: &str) -> Identity {
    Identity::Node(name.parse::<NodeName>().unwrap())
}

/// cert-authority's TLS, which calls without a certificate may reach.
pub fn server_tls(root: &Root, client: ClientAuth) -> ServerTls {
    root.mesh(ServiceName::CertAuthority).server_tls(client)
}

/// A mesh whose one certificate is `wish`ed for.
pub fn mesh_with(root: &Root, credentials: sextant_identity::Credentials) -> Mesh {
    let (mesh, sender, _) = root.rotating_mesh(supervisor());
    sender.send_replace(Arc::new(credentials));
    mesh
}

/// Calls `path` without a client certificate, as plain HTTP/2, and returns the gRPC status.
pub async fn call_without_certificate(
    address: SocketAddr,
    anchors: &[CertificateDer<'static>],
    path: &str,
) -> Result<Code, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    let answer = sender
        .send_request(request)
        .await
        .map_err(std::io::Error::other)?;
    let (head, body) = answer.into_parts();
    let trailers = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .trailers()
        .cloned();
    let status = head.headers.get("grpc-status").cloned();
    let status = status
        .or_else(|| trailers?.get("grpc-status").cloned())
        .expect("a grpc-status");
    Ok(Code::from_bytes(status.as_bytes()))
}

/// A server certificate that ordinary TLS clients accept, too.
pub fn named_server(root: &Root) -> Mesh {
    let identity = Identity::from(ServiceName::CertAuthority);
    let wish = root
        .wish(Authority::Mesh)
        .identity(&identity)
        .dns("localhost");
    mesh_with(root, root.sign(wish))
}
