//! Listeners that speak TLS and know their callers.

use crate::authz::Authorize;
use crate::error::Error;
use sextant_kit::Drain;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

/// Whether callers must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate is verified when shown; calls without one have no identity.
    Optional,
    /// No certificate, no connection.
    Required,
}

/// Bounds of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub max_connections: usize,
    /// TLS handshakes at one time.
    pub max_handshakes: usize,
    /// Deadline of a handshake.
    pub handshake_deadline: std::time::Duration,
    /// HTTP/2 streams per connection.
    pub max_streams: u32,
    /// After this the connection is asked to go away (GOAWAY); its streams finish.
    pub max_connection_age: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_handshakes: 256,
            handshake_deadline: std::time::Duration::from_secs(10),
            max_streams: 10_000,
            max_connection_age: std::time::Duration::from_secs(20 * 3600),
        }
    }
}

/// TLS of a listener; the newest configuration is used at each accept.
#[derive(Clone, Debug)]
pub struct ServerTls {
    #[expect(dead_code)]
    config: watch::Receiver<Arc<rustls::ServerConfig>>,
}

/// Serves gRPC until drained, callers authorised by [`crate::authz::TABLE`].
pub async fn serve_grpc(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    drain: Drain,
) -> Result<(), Error> {
    let _ = (listener, tls, routes, drain);
    unimplemented!()
}

/// [`serve_grpc`] with a decision of your own instead of the table.
pub async fn serve_grpc_with(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    authorize: Arc<dyn Authorize>,
    limits: Limits,
    drain: Drain,
) -> Result<(), Error> {
    let _ = (listener, tls, routes, authorize, limits, drain);
    unimplemented!()
}

/// Serves an axum router over HTTP/1.1 and HTTP/2 until drained. gRPC routes merged into it
/// (`Routes::into_axum_router`) must be wrapped by [`crate::authz::guard`] by the caller.
pub async fn serve_http(
    listener: TcpListener,
    tls: ServerTls,
    app: axum::Router,
    limits: Limits,
    drain: Drain,
) -> Result<(), Error> {
    let _ = (listener, tls, app, limits, drain);
    unimplemented!()
}
