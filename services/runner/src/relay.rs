//! What upstream's components tell about themselves. They export only plaintext OTLP, so they are offered a Unix socket
//! of their own user, from which everything goes to the collector over the connection that this process has.
//!
//! A component never waits for the collector: it is answered as soon as its export is queued. The queue is bounded in
//! bytes; what doesn't fit is dropped and counted.

mod raw;
mod sampling;

use std::{path::Path, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use serde_json::{Value, json};
use sextant_kit::{Drain, Metrics, backoff::Backoff, telemetry::collector};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    transport::{Channel, Server},
};

use crate::{error::Error, sockets::listen};
use raw::Raw;

/// The services of OTLP that are passed on.
const METHODS: [&str; 3] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
];
/// The largest export, as large as the collector takes one.
const MAX_EXPORT: usize = 4 * 1024 * 1024;
/// What waits for the collector, in bytes.
const BUDGET: usize = 8 * 1024 * 1024;
/// What waits for the collector, in exports.
const QUEUE: usize = 1024;
/// How long the end of the process waits for the collector.
const FLUSH: Duration = Duration::from_secs(1);

/// Passes on what is exported to its sockets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    queue: mpsc::Sender<Export>,
    budget: Arc<Semaphore>,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Export {
    method: PathAndQuery,
    message: Bytes,
    _room: Arc<OwnedSemaphorePermit>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    relayed: Counter,
    dropped: Counter,
    queued: Gauge,
}

impl Relay {
    /// A relay to the collector of this process; `None` where it has none. It ends soon after the drain has begun, and
    /// holds the process until then.
    pub fn start(metrics: &Metrics, drain: &Drain) -> Option<Self> {
        collector::channel().map(|channel| Self::to(channel, metrics, drain))
    }

    fn to(collector: Channel, metrics: &Metrics, drain: &Drain) -> Self {
        let counts = Counts::register(metrics);
        let (queue, exports) = mpsc::channel(QUEUE);
        let forward = Forward {
            collector,
            exports,
            current: None,
            counts: counts.clone(),
        };
        tokio::spawn(forward.run(drain.clone()));
        Self {
            queue,
            budget: Arc::new(Semaphore::new(BUDGET)),
            counts,
        }
    }

    /// Offers a receiver at `socket`, for this user alone.
    pub fn listen(&self, socket: &Path, drain: &Drain) -> Result<(), Error> {
        let incoming = UnixListenerStream::new(listen(socket)?);
        let server = Server::builder()
            .concurrency_limit_per_connection(4)
            .add_routes(self.routes().into());
        let drain = drain.clone();
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
            drain.signaled().await;
        }));
        Ok(())
    }

    fn routes(&self) -> Router {
        let receive = |State(relay): State<Self>, request: http::Request<axum::body::Body>| async move {
            let method = request.uri().path_and_query().cloned();
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(MAX_EXPORT);
            grpc.unary(Receiver { relay, method }, request.map(Body::new))
                .await
        };
        METHODS
            .iter()
            .fold(Router::new(), |routes, method| {
                routes.route(method, post(receive))
            })
            .with_state(self.clone())
    }

    /// Queues it, or counts it as dropped.
    fn take(&self, method: PathAndQuery, message: Bytes) {
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.budget).try_acquire_many_owned(size);
        let queued = room.ok().is_some_and(|room| {
            let export = Export {
                method,
                message,
                _room: Arc::new(room),
            };
            self.queue.try_send(export).is_ok()
        });
        if queued {
            self.counts.queued.inc();
        } else {
            self.counts.dropped.inc();
        }
    }
}

/// `TracingConfiguration` of upstream's components for a relay at `socket`. They sample what this process would.
pub fn tracing(socket: &Path) -> Value {
    json!({
        "endpoint": format!("unix://{}", socket.display()),
        "samplingRatePerMillion": sampling::per_million(),
    })
}

struct Receiver {
    relay: Relay,
    method: Option<PathAndQuery>,
}

impl tonic::server::UnaryService<Bytes> for Receiver {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        if let Some(method) = self.method.take() {
            self.relay.take(method, request.into_inner());
        }
        // An empty message is a full success.
        std::future::ready(Ok(Response::new(Bytes::new())))
    }
}

struct Forward {
    collector: Channel,
    exports: mpsc::Receiver<Export>,
    /// The one that is being sent.
    current: Option<Export>,
    counts: Counts,
}

impl Forward {
    async fn run(mut self, drain: Drain) {
        let _guard = drain.guard();
        if drain.run(self.forward()).await.is_none() {
            let _ = timeout(FLUSH, self.flush()).await;
        }
    }

    async fn forward(&mut self) {
        while let Some(export) = self.exports.recv().await {
            let export = self.current.insert(export).clone();
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
            let mut told = false;
            while let Err(status) = self.send(&export).await {
                let reason = status.message();
                if !is_passing(status.code()) {
                    tracing::warn!(reason, "the collector refuses an export");
                    self.counts.dropped.inc();
                    break;
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(reason, "the collector takes nothing");
                }
                sleep(backoff.next()).await;
            }
            self.counts.queued.dec();
            self.current = None;
        }
    }

    /// Each once, and nothing more after a failure.
    async fn flush(&mut self) {
        let mut next = self.current.take();
        while let Some(export) = next {
            if self.send(&export).await.is_err() {
                return;
            }
            next = self.exports.try_recv().ok();
        }
    }

    async fn send(&self, export: &Export) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.collector.clone());
        let ready = grpc.ready().await;
        ready.map_err(|e| Status::unavailable(e.to_string()))?;
        let request = Request::new(export.message.clone());
        grpc.unary(request, export.method.clone(), Raw).await?;
        self.counts.relayed.inc();
        Ok(())
    }
}

/// Whether the same export may be taken later.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unavailable
            | Code::Unknown
    )
}

impl Counts {
    fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let Self {
            relayed,
            dropped,
            queued,
        } = own.clone();
        metrics.register(|registry| {
            registry.register(
                "telemetry_relayed_exports",
                "Exports of upstream's components that the collector has taken",
                relayed,
            );
            registry.register(
                "telemetry_dropped_exports",
                "Exports of upstream's components that the collector didn't take in time, or refused",
                dropped,
            );
            registry.register(
                "telemetry_queued_exports",
                "Exports of upstream's components that wait for the collector",
                queued,
            );
        });
        own
    }
}

#[cfg(test)]
mod tests;
