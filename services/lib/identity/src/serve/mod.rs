//! Listeners that speak TLS and know their callers.
//!
//! Every accept takes the newest TLS configuration, so a renewal never drops a connection, and a connection is
//! never cut because its certificate expired. What an unknown caller can make us hold is bounded: handshakes,
//! connections, streams, header sizes, and the time it may stay.

mod accept;
mod connection;

use crate::authz::{self, Authorize, Table};
use crate::error::Error;
use crate::tls::{self, Material};
use crate::window;
use sextant_kit::Drain;
use sextant_kit::telemetry::rpc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

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
    /// Connections at one time; at most a quarter of them may be callers without a certificate.
    pub max_connections: usize,
    /// TLS handshakes at one time.
    pub max_handshakes: usize,
    /// Deadline of a handshake, from the accept.
    pub handshake_deadline: Duration,
    /// HTTP/2 streams per connection.
    pub max_streams: u32,
    /// After this time, and some jitter, the connection is asked to go away (GOAWAY); its streams finish.
    pub max_connection_age: Duration,
    /// The same for callers without a certificate, who are cut soon after.
    pub max_anonymous_age: Duration,
    /// How long open calls may go on once the drain has begun. Shorter than the process' own limit, so that
    /// followed streams, which never end by themselves, don't use it up.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_handshakes: 256,
            handshake_deadline: Duration::from_secs(10),
            max_streams: window::STREAMS,
            max_connection_age: Duration::from_secs(20 * 3600),
            max_anonymous_age: Duration::from_secs(60),
            drain_grace: Duration::from_secs(5),
        }
    }
}

/// TLS of a listener; the newest configuration is used at each accept.
#[derive(Clone, Debug)]
pub struct ServerTls {
    material: Material,
    client: ClientAuth,
}

impl ServerTls {
    pub(crate) fn new(material: Material, client: ClientAuth) -> Self {
        Self { material, client }
    }

    /// The rustls configuration with these ALPN protocols, made anew at each change of certificate or anchors.
    pub fn config(
        &self,
        alpn: &'static [&'static [u8]],
    ) -> Result<watch::Receiver<Arc<rustls::ServerConfig>>, Error> {
        let (authority, client) = (self.material.authority, self.client);
        self.material.clone().derive(move |credentials, trust| {
            tls::server_config(credentials, trust, authority, client, alpn)
        })
    }
}

/// How long a service stays connected to one replica of another: soon after there are more of them, each has its share.
const AMONG_SERVICES: Duration = Duration::from_secs(10 * 60);

/// Serves gRPC to other services until drained, callers authorised by [`crate::authz::TABLE`].
pub async fn serve_grpc(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    drain: Drain,
) -> Result<(), Error> {
    let limits = Limits {
        max_connection_age: AMONG_SERVICES,
        ..Limits::default()
    };
    let table = Arc::new(Table::default());
    serve_grpc_with(listener, tls, routes, table, limits, drain).await
}

/// [`serve_grpc`] with a decision of the caller's instead of the table.
pub async fn serve_grpc_with(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    authorize: Arc<dyn Authorize>,
    limits: Limits,
    drain: Drain,
) -> Result<(), Error> {
    let app = authz::enforce(routes.prepare().into_axum_router(), authorize);
    serve(listener, tls.config(&[H2])?, app, limits, drain).await
}

/// Serves an axum router over HTTP/1.1 and HTTP/2 until drained. gRPC routes may be merged into it
/// (`Routes::into_axum_router`): every path in [`crate::authz::TABLE`] is authorised by it, all other paths are
/// the router's own business.
pub async fn serve_http(
    listener: TcpListener,
    tls: ServerTls,
    app: axum::Router,
    limits: Limits,
    drain: Drain,
) -> Result<(), Error> {
    let app = authz::enforce(app, Arc::new(Table::only_listed()));
    serve(listener, tls.config(&[H2, HTTP1])?, app, limits, drain).await
}

async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    app: axum::Router,
    limits: Limits,
    drain: Drain,
) -> Result<(), Error> {
    let app = app.layer(axum::middleware::from_fn(rpc::observe));
    accept::Acceptor::new(tls, app, limits, drain)
        .run(listener)
        .await;
    Ok(())
}
