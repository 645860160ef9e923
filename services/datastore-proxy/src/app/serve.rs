//! Serving the listeners.

use crate::error::Error;
use crate::tls::{self, Clients};
use rustls::ServerConfig;
use sextant_identity::authz::{Authorize as _, Table};
use sextant_identity::{Identity, Limits, ServerTls};
use sextant_kit::Drain;
use sextant_kit::telemetry::{self, rpc};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};

/// Paths of what isn't etcd's.
const TELEMETRY: &str = "/sextant.telemetry.v1.";

/// What the listener of clients is served with.
pub(super) enum Security {
    Plain,
    Files(watch::Receiver<Arc<ServerConfig>>, Clients),
    Mesh(ServerTls),
}

/// Serves the clients until drained.
pub(super) async fn clients(
    listener: TcpListener,
    security: Security,
    routes: Routes,
    drain: Drain,
) -> Result<(), Error> {
    let tls = match security {
        Security::Plain => {
            tracing::warn!(
                "serving without TLS: whoever has an account on this machine may do everything"
            );
            return plaintext(listener, routes, drain).await;
        }
        Security::Files(config, clients) => {
            let incoming = tls::incoming(listener, config, clients, &drain);
            return serve(incoming, routes, drain).await;
        }
        Security::Mesh(tls) => tls,
    };
    // Who may do what with keys is decided in the handlers, since it depends on them.
    let table = Table::default();
    let decide = move |path: &str, caller: Option<&Identity>| match path.starts_with(TELEMETRY) {
        true => table.authorize(path, caller),
        false => Ok(()),
    };
    let routes = routes.add_service(telemetry::server());
    let limits = Limits::default();
    let served =
        sextant_identity::serve_grpc_with(listener, tls, routes, Arc::new(decide), limits, drain);
    Ok(served.await?)
}

/// Serves without TLS until drained.
pub(super) async fn plaintext(
    listener: TcpListener,
    routes: Routes,
    drain: Drain,
) -> Result<(), Error> {
    // The builder's own setting of this kind is for listeners that it makes itself.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve(incoming, routes, drain).await
}

async fn serve<C>(
    incoming: impl Stream<Item = std::io::Result<C>>,
    routes: Routes,
    drain: Drain,
) -> Result<(), Error>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let app = routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn(rpc::observe));
    Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(64 << 10)
        // API servers give up many requests at once; that is no attack.
        .http2_max_pending_accept_reset_streams(Some(1024))
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(incoming, drain.signaled())
        .await
        .map_err(|error| Error::Serve(error.to_string()))
}
