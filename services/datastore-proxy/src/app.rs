//! Opens the store, binds, serves.

use crate::config::{Config, Endpoint};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::{self, Services};
use crate::metrics::Metrics;
use crate::store::sqlite::Claim;
use crate::store::{Opened, StoreError};
use sextant_kit::{Context, Service, Task, net};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// How often a store that another process holds is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// datastore-proxy.
pub struct App;

impl Service for App {
    const NAME: &'static str = "datastore-proxy";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        match Bound::new(&config, &ctx).await? {
            Some(bound) => Ok(bound.run().await?),
            None => Ok(()),
        }
    }
}

/// Everything that can fail at the start has not.
pub struct Bound {
    listener: TcpListener,
    services: Services,
    ready: Task,
}

impl Bound {
    /// Opens the store and binds; `None` when drained before that.
    pub async fn new(config: &Config, ctx: &Context) -> anyhow::Result<Option<Self>> {
        if config.insecure_loopback && !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen).into());
        }
        let Endpoint::Sqlite(path) = config.endpoint()?;
        let ready = ctx.readiness.task("datastore");
        let Some(claim) = ctx.drain.run(claim(path, &ready)).await else { return Ok(None) };
        let claim = claim?;
        ready.waiting("opening the database");
        let opened = open(claim).await?;
        let metrics = Metrics::new(&ctx.metrics);
        let engine = Engine::start(opened, metrics, &ctx.drain)?;
        let listener = net::bind(config.listen).await?;
        let services = Services {
            engine,
            progress: Duration::from_secs(config.watch_progress_seconds.max(1)),
            drain: ctx.drain.clone(),
            trusts_loopback: config.insecure_loopback,
            client_url: format!("http://{}", listener.local_addr()?),
        };
        Ok(Some(Self { listener, services, ready }))
    }

    /// Where it serves.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until drained.
    pub async fn run(self) -> Result<(), Error> {
        let Self { listener, services, ready } = self;
        let address = listener.local_addr().map_err(|error| Error::Serve {
            address: ([0, 0, 0, 0], 0).into(),
            found: error.to_string(),
        })?;
        let drain = services.drain.clone();
        let routes = grpc::routes(&services).await;
        ready.ready();
        tracing::info!(%address, "serving etcd clients without TLS, on this machine alone");
        Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            // API servers give up many requests at once; that is no attack.
            .http2_max_pending_accept_reset_streams(Some(1024))
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), drain.signaled())
            .await
            .map_err(|error| Error::Serve { address, found: error.to_string() })
    }
}

/// Waits for the store's lock, and says so while another process has it.
async fn claim(path: PathBuf, ready: &Task) -> Result<Claim, StoreError> {
    loop {
        match Claim::new(&path) {
            Err(error @ StoreError::Locked(_)) => ready.waiting(error.to_string()),
            other => return other,
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(claim: Claim) -> Result<Opened, StoreError> {
    let opened = tokio::task::spawn_blocking(move || claim.open()).await;
    opened.unwrap_or_else(|error| {
        Err(StoreError::Failed { doing: "opening the store".into(), found: error.to_string() })
    })
}

