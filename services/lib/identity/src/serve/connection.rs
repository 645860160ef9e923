//! HTTP on an accepted connection.

use super::{H2, Limits};
use crate::peer::{Leaving, PeerIdentity, PeerInfo};
use crate::window;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use sextant_kit::Drain;
use sextant_kit::telemetry::rpc;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

const MAX_FRAME: u32 = 64 << 10;
const MAX_HEADERS: u32 = 32 << 10;
/// Streams that a caller without a certificate may open.
const ANONYMOUS_STREAMS: u32 = 32;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a caller without a certificate may finish after it was asked to go.
const ANONYMOUS_GRACE: Duration = Duration::from_secs(30);

/// Who is at the other end.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) identity: Option<PeerIdentity>,
    pub(super) info: PeerInfo,
}

/// Serves one connection to its end: the caller's, its age, or the drain; the latter two let open calls finish.
pub(super) async fn serve(
    stream: TlsStream<TcpStream>,
    caller: Caller,
    app: axum::Router,
    limits: &Limits,
    drain: &Drain,
) {
    let http2 = stream
        .get_ref()
        .1
        .alpn_protocol()
        .is_none_or(|protocol| protocol == H2);
    let anonymous = caller.identity.is_none();
    let builder = if anonymous {
        builder(http2, ANONYMOUS_STREAMS, window::ANONYMOUS_STREAM)
    } else {
        builder(http2, limits.max_streams, window::STREAM)
    };
    let address = caller.info.addr;
    let leaving = Leaving::default();
    let told = leaving.clone();
    let app = app.map_request(move |mut request: http::Request<_>| {
        let extensions = request.extensions_mut();
        extensions.insert(caller.info.clone());
        extensions.insert(told.clone());
        if let Some(identity) = &caller.identity {
            extensions.insert(rpc::Caller(identity.0.label()));
            extensions.insert(identity.clone());
        }
        request
    });
    let io = TokioIo::new(stream);
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(app)));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drain.signaled() => None,
        () = aged(limits, anonymous) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            leaving.signal();
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = patience(limits, drain, anonymous) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "connection ended");
    }
}

/// How long open calls may go on after the caller was asked to go.
async fn patience(limits: &Limits, drain: &Drain, anonymous: bool) {
    let stop = async {
        drain.signaled().await;
        tokio::time::sleep(limits.drain_grace).await;
    };
    if anonymous {
        // Over at whichever comes first; without a drain, at the grace.
        let _ = tokio::time::timeout(ANONYMOUS_GRACE, stop).await;
    } else {
        stop.await;
    }
}

async fn aged(limits: &Limits, anonymous: bool) {
    let age = if anonymous {
        limits.max_anonymous_age
    } else {
        // Jitter, so that connections made together don't end together.
        limits
            .max_connection_age
            .mul_f64(rand::random_range(0.9..=1.1))
    };
    tokio::time::sleep(age).await;
}

fn builder(http2: bool, streams: u32, window: u32) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window::connection(streams, window))
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(streams)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_DEADLINE);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADERS as usize);
    builder
}
