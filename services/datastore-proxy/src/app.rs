//! Putting the parts together: open, bind, run.

mod open;
mod serve;

use crate::config::{Config, Endpoint, TlsFiles};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::{self, Reads, Services};
use crate::metrics::Metrics;
use crate::passthrough::{self, Backend};
use crate::replica::join::{PeerListener, join, until_there};
use crate::replica::{Replicas, Writer};
use crate::slow::SlowLog;
use crate::store::{Opened, server};
use crate::tls::{self, Clients};
use crate::tools;
use serve::Security;
use sextant_identity::{Identity, Leaf, Mesh, ServerTls, ServiceName};
use sextant_kit::cli::{Command, Flag};
use sextant_kit::{Context, Drain, Service, Task, net};
use sextant_proto::certauthority::Profile;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::Routes;

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

    fn commands() -> Vec<Command> {
        tools::commands()
    }

    fn flags() -> &'static [Flag] {
        &[
            Flag {
                name: "endpoint",
                path: "endpoint",
                help: "Where the data is: sqlite:///absolute/path/state.db, postgres://user@host/database?schema=name, mysql://user@host/database, or etcd://host:2379/prefix",
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
    /// `None`: TLS from files, or plaintext on loopback.
    tls: Option<ServerTls>,
    serving: Serving,
    /// For other replicas, where there may be some.
    peers: Option<Peers>,
    files: Option<TlsFiles>,
    ready: Task,
}

/// What other replicas are served with.
struct Peers {
    listener: PeerListener,
    routes: Routes,
    replicas: Arc<Replicas>,
}

impl Peers {
    async fn serve(self, drain: Drain) -> Result<(), Error> {
        let PeerListener { listener, tls, .. } = self.listener;
        match tls {
            None => serve::plaintext(listener, self.routes, drain).await,
            Some(tls) => Ok(sextant_identity::serve_grpc(listener, tls, self.routes, drain).await?),
        }
    }
}

/// The services over one of the backends.
enum Serving {
    /// A store that this process runs.
    Engine(Services),
    /// An etcd that it passes requests on to.
    Etcd(passthrough::Serving),
}

impl Serving {
    fn drain(&self) -> Drain {
        match self {
            Self::Engine(services) => services.drain.clone(),
            Self::Etcd(serving) => serving.drain.clone(),
        }
    }

    async fn routes(self) -> Routes {
        match self {
            Self::Engine(services) => grpc::routes(services).await,
            Self::Etcd(serving) => passthrough::routes(serving).await,
        }
    }
}

impl Bound {
    /// Opens the store and gets a certificate. Waits, and says so on `/readyz`, while another process has the
    /// store or cert-authority doesn't answer.
    pub async fn bind(config: Config, ctx: Context) -> anyhow::Result<Self> {
        if config.insecure_loopback && !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen).into());
        }
        let endpoint = config.endpoint()?;
        // Ready only when it serves.
        let ready = ctx.readiness.task("datastore");
        ctx.readiness.started();
        let backend = match endpoint {
            Endpoint::Etcd(address) => {
                let backend = Backend::start(&address, config.etcd.clone(), &ctx, &ready).await?;
                Opening::Etcd(backend.ok_or(Error::Drained)?)
            }
            Endpoint::Server(_) if config.tls.is_set() => {
                return Err(Error::TlsFilesOfReplicas.into());
            }
            Endpoint::Server(url) => {
                let settings = server::Settings::new(&url, &config.database)?;
                return Self::elected(&config, &ctx, settings, ready).await;
            }
            Endpoint::Sqlite(path) => {
                let claim = open::claim(path, &ready).await?;
                ready.waiting("opening the database");
                Opening::Store(open::open(claim).await?)
            }
        };
        let tls = if config.insecure_loopback || config.tls.is_set() {
            None
        } else {
            Some(client_tls(&enroll(&config, &ctx).await?, &ctx).await?)
        };
        // Only now: whoever dials a process that can't serve yet should be refused and try another.
        let listener = net::bind(config.listen).await?;
        match backend {
            Opening::Etcd(backend) => Self::with_etcd(&config, &ctx, backend, listener, tls, ready),
            Opening::Store(opened) => Self::with_store(&config, &ctx, opened, listener, tls, ready),
        }
    }

    /// The rest of [`bind`](Self::bind) over an etcd, for tests with certificates of their own.
    pub fn with_etcd(
        config: &Config,
        ctx: &Context,
        backend: Backend,
        listener: TcpListener,
        tls: Option<ServerTls>,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let files = files(config, tls.as_ref());
        let is_plain = tls.is_none() && files.is_none();
        let serving = passthrough::Serving {
            backend,
            progress: progress(config),
            slow: slow_log(config, ctx),
            drain: ctx.drain.clone(),
            trusts_loopback: is_plain,
            client_url: client_url(&listener, is_plain)?,
        };
        Ok(Self {
            listener,
            tls,
            serving: Serving::Etcd(serving),
            peers: None,
            files,
            ready,
        })
    }

    /// One of several replicas, on an SQL server.
    async fn elected(
        config: &Config,
        ctx: &Context,
        settings: server::Settings,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let trust = if config.insecure_loopback {
            None
        } else {
            let mesh = enroll(config, ctx).await?;
            let tls = client_tls(&mesh, ctx).await?;
            Some((mesh, tls))
        };
        Self::with_database(config, ctx, settings, trust, ready).await
    }

    /// The rest of [`bind`](Self::bind) for one of several replicas, for tests with certificates of their own.
    /// `trust` is `None` where everything is plaintext on loopback.
    pub async fn with_database(
        config: &Config,
        ctx: &Context,
        settings: server::Settings,
        trust: Option<(Mesh, ServerTls)>,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let host = settings.host();
        let member_id = rand::random::<u64>() | 1;
        let opening = || settings.clone().open(member_id);
        let database = until_there("opening the database", &ready, ctx, opening).await?;
        let (mesh, tls) = trust.unzip();
        let peers = PeerListener::bind(config, mesh.as_ref(), host).await?;
        let listener = net::bind(config.listen).await?;
        let port = listener.local_addr()?.port();
        let replicas = join(database, member_id, &peers, port, &ready, ctx).await?;
        let engine = Engine::of(Arc::clone(&replicas)).with_quota(config.quota_bytes);
        let mut bound = Self::with_engine(config, ctx, engine, listener, tls, ready)?;
        if let Serving::Engine(services) = &bound.serving {
            bound.peers = Some(Peers {
                routes: grpc::replica_routes(services.clone(), Arc::clone(&replicas)),
                listener: peers,
                replicas,
            });
        }
        Ok(bound)
    }

    /// The rest of [`bind`](Self::bind) over a store, for tests with certificates of their own.
    pub fn with_store(
        config: &Config,
        ctx: &Context,
        opened: Opened,
        listener: TcpListener,
        tls: Option<ServerTls>,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let engine = Engine::start(opened, Metrics::new(&ctx.metrics), &ctx.drain)?
            .with_quota(config.quota_bytes);
        Self::with_engine(config, ctx, engine, listener, tls, ready)
    }

    fn with_engine(
        config: &Config,
        ctx: &Context,
        engine: Engine,
        listener: TcpListener,
        tls: Option<ServerTls>,
        ready: Task,
    ) -> anyhow::Result<Self> {
        let files = files(config, tls.as_ref());
        let is_plain = tls.is_none() && files.is_none();
        let services = Services {
            engine,
            progress: progress(config),
            slow: slow_log(config, ctx),
            drain: ctx.drain.clone(),
            reads: Reads::default(),
            snapshots: Arc::new(Semaphore::new(1)),
            trusts_loopback: is_plain,
            client_url: client_url(&listener, is_plain)?,
        };
        Ok(Self {
            listener,
            tls,
            serving: Serving::Engine(services),
            peers: None,
            files,
            ready,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it serves other replicas, if there may be some.
    pub fn peer_address(&self) -> Option<&str> {
        self.peers.as_ref().map(|peers| peers.listener.address())
    }

    /// Serves until drained.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            serving,
            files,
            peers,
            ready,
        } = self;
        let drain = serving.drain();
        let security = match (tls, files) {
            (Some(tls), _) => Security::Mesh(tls),
            (None, None) => Security::Plain,
            (None, Some(files)) => {
                let followed = tls::follow(&files, &drain)?;
                Security::Files(followed, Clients::new(files.clients))
            }
        };
        let clients = serve::clients(listener, security, serving.routes().await, drain.clone());
        let Some(peers) = peers else {
            ready.ready();
            return clients.await;
        };
        drain.spawn(tell_readiness(Arc::clone(&peers.replicas), ready));
        tokio::try_join!(clients, peers.serve(drain)).map(drop)
    }
}

/// Ready while somebody writes.
async fn tell_readiness(replicas: Arc<Replicas>, ready: Task) {
    let mut writer = replicas.writer();
    loop {
        match &*writer.borrow_and_update() {
            Writer::Nobody => ready.waiting("no replica writes: one is being elected"),
            Writer::Here { .. } | Writer::There { .. } => ready.ready(),
        }
        if writer.changed().await.is_err() {
            return;
        }
    }
}

/// What is there to serve, before there is a listener.
enum Opening {
    Etcd(Backend),
    Store(Opened),
}

fn progress(config: &Config) -> Duration {
    Duration::from_secs(config.watch_progress_seconds.max(1))
}

fn slow_log(config: &Config, ctx: &Context) -> SlowLog {
    SlowLog::new(Duration::from_millis(config.slow_request_ms), &ctx.metrics)
}

/// The TLS files, where they are what is served with.
fn files(config: &Config, mesh: Option<&ServerTls>) -> Option<TlsFiles> {
    let wanted = config.tls.is_set() && mesh.is_none() && !config.insecure_loopback;
    wanted.then(|| config.tls.clone())
}

fn client_url(listener: &TcpListener, is_plain: bool) -> std::io::Result<String> {
    let scheme = if is_plain { "http" } else { "https" };
    Ok(format!("{scheme}://{}", listener.local_addr()?))
}

async fn enroll(config: &Config, ctx: &Context) -> Result<Mesh, Error> {
    let identity = Identity::Service(ServiceName::DatastoreProxy);
    Ok(Mesh::enroll(&config.enroll, identity, ctx).await?)
}

async fn client_tls(mesh: &Mesh, ctx: &Context) -> Result<ServerTls, Error> {
    let leaf = Leaf::obtain(mesh, Profile::DatastoreServer, ctx).await?;
    Ok(mesh.datastore_server_tls(&leaf))
}
