//! Putting the parts together: open, bind, run.

use crate::config::{Config, Endpoint};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::{self, Services};
use crate::metrics::Metrics;
use crate::store::sqlite::Claim;
use crate::store::{Opened, StoreError};
use sextant_identity::{Identity, Leaf, Limits, Mesh, ServerTls, ServiceName};
use sextant_kit::cli::Flag;
use sextant_kit::telemetry::rpc;
use sextant_kit::{Context, Drain, Service, Task, net};
use sextant_proto::certauthority::Profile;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How often a store that another process holds is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The service.
pub struct App;

impl Service for App {
    const NAME: &'static str = "datastore-proxy";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        let drain = ctx.drain.clone();
        match drain.run(Bound::bind(config, ctx)).await {
            Some(bound) => Ok(bound?.run().await?),
            None => Ok(()),
        }
    }

    fn flags() -> &'static [Flag] {
        &[
            Flag {
                name: "endpoint",
                path: "endpoint",
                help: "Where the data is: sqlite:///absolute/path/state.db",
                is_switch: false,
            },
            Flag {
                name: "listen",
                path: "listen",
                help: "Where etcd clients are served",
                is_switch: false,
            },
            Flag {
                name: "insecure-loopback",
                path: "insecure_loopback",
                help: "Serve without TLS and authorization, on a loopback address",
                is_switch: true,
            },
        ]
    }
}

/// A datastore-proxy whose store is open and whose listener is bound.
pub struct Bound {
    listener: TcpListener,
    /// `None`: plaintext on loopback.
    tls: Option<ServerTls>,
    services: Services,
    ready: Task,
}

impl Bound {
    /// Opens the store and gets a certificate. Waits, and says so on `/readyz`, while another process has the
    /// store or cert-authority doesn't answer.
    pub async fn bind(config: Config, ctx: Context) -> anyhow::Result<Self> {
        if config.insecure_loopback && !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen).into());
        }
        let Endpoint::Sqlite(path) = config.endpoint()?;
        // Ready only when it serves.
        let ready = ctx.readiness.task("datastore");
        ctx.readiness.started();
        let claim = claim(path, &ready).await?;
        ready.waiting("opening the database");
        let opened = open(claim).await?;
        let tls = if config.insecure_loopback {
            None
        } else {
            Some(tls(&config, &ctx).await?)
        };
        // Only now: whoever dials a process that can't serve yet should be refused and try another.
        let listener = net::bind(config.listen).await?;
        Self::with_store(&config, &ctx, opened, listener, tls, ready)
    }

    /// The rest of [`bind`](Self::bind), for tests with certificates of their own.
    pub fn with_store(
        config: &Config,
        ctx: &Context,
        opened: Opened,
        listener: TcpListener,
        tls: Option<ServerTls>,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let engine = Engine::start(opened, Metrics::new(&ctx.metrics), &ctx.drain)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let services = Services {
            engine,
            progress: Duration::from_secs(config.watch_progress_seconds.max(1)),
            drain: ctx.drain.clone(),
            trusts_loopback: tls.is_none(),
            client_url: format!("{scheme}://{}", listener.local_addr()?),
        };
        Ok(Self {
            listener,
            tls,
            services,
            ready,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until drained.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            services,
            ready,
        } = self;
        let drain = services.drain.clone();
        let routes = grpc::routes(services).await;
        ready.ready();
        match tls {
            None => plaintext(listener, routes, drain).await,
            Some(tls) => {
                // Who may do what depends on keys, so it is decided in the handlers.
                let pass = |_: &str, _: Option<&Identity>| Ok(());
                let limits = Limits::default();
                let served = sextant_identity::serve_grpc_with(
                    listener,
                    tls,
                    routes,
                    Arc::new(pass),
                    limits,
                    drain,
                );
                Ok(served.await?)
            }
        }
    }
}

async fn plaintext(listener: TcpListener, routes: Routes, drain: Drain) -> Result<(), Error> {
    tracing::warn!("serving without TLS: whoever has an account on this machine may do everything");
    let app = routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn(rpc::observe));
    // The builder's own setting of this kind is for listeners that it makes itself.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
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

async fn tls(config: &Config, ctx: &Context) -> Result<ServerTls, Error> {
    let identity = Identity::Service(ServiceName::DatastoreProxy);
    let mesh = Mesh::enroll(&config.enroll, identity, ctx).await?;
    let leaf = Leaf::obtain(&mesh, Profile::DatastoreServer, ctx).await?;
    Ok(mesh.datastore_server_tls(&leaf))
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
        Err(StoreError::Failed {
            doing: "opening the store".into(),
            found: error.to_string(),
        })
    })
}
