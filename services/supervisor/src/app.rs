//! How the supervisor is put together: build, bind, run.

mod address;
mod duties;
mod routes;
mod shared;
mod view;

use self::shared::Shared;
use crate::config::Config;
use crate::error::Error;
use crate::store::Datastore;
use crate::tunnel::Pending;
use sextant_identity::{ClientAuth, Leaf, Limits, Mesh, ServiceName, serve_grpc, serve_http};
use sextant_kit::{Context, Service, Task};
use sextant_proto::certauthority::Profile;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The supervisor.
#[derive(Debug)]
pub struct App;

impl Service for App {
    const NAME: &'static str = "supervisor";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        config.cluster.validate().map_err(Error::Config)?;
        let listeners = Listeners::bind(&config).await?;
        let identity = ServiceName::Supervisor.into();
        let mesh = match Mesh::enroll(&config.enroll, identity, &ctx).await {
            Err(sextant_identity::Error::Drained(_)) => return Ok(()),
            outcome => outcome?,
        };
        let leaf = match Leaf::obtain(&mesh, Profile::DatastoreClient, &ctx).await {
            Err(sextant_identity::Error::Drained(_)) => return Ok(()),
            outcome => outcome?,
        };
        let client = mesh.datastore_client_with(&config.datastore, &leaf).await?;
        let readiness = ctx.readiness.clone();
        let store = Datastore::new(client);
        let mut bound = Bound::new(config, ctx, mesh, store, listeners).await?;
        bound.datastore_leaf = Some(leaf);
        readiness.started();
        Box::pin(bound.run()).await?;
        Ok(())
    }
}

/// The two listeners, bound before anything is waited for: a taken port is told at once.
#[derive(Debug)]
pub struct Listeners {
    internal: TcpListener,
    public: TcpListener,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// The address that can't be had.
    pub async fn bind(config: &Config) -> Result<Self, sextant_kit::Error> {
        Ok(Self {
            internal: sextant_kit::net::bind(config.listen).await?,
            public: sextant_kit::net::bind(config.public_listen).await?,
        })
    }
}

/// A supervisor with its addresses known, not yet serving.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    ctx: Context,
    mesh: Mesh,
    store: Datastore,
    listeners: Listeners,
    /// Address of the internal listener.
    pub internal: SocketAddr,
    /// Address of the public listener.
    pub public: SocketAddr,
    /// Bounds of the public listener.
    pub limits: Limits,
    /// With which each replica of datastore-proxy can be called, beside the store's own way.
    pub datastore_leaf: Option<Leaf>,
    advertised: String,
    waits: Waits,
}

/// What a replica isn't ready without.
#[derive(Debug)]
struct Waits {
    datastore: Task,
    lease: Task,
}

impl Bound {
    /// With everything that comes from outside.
    ///
    /// # Errors
    /// A listener without an address.
    pub async fn new(
        config: Config,
        ctx: Context,
        mesh: Mesh,
        store: Datastore,
        listeners: Listeners,
    ) -> Result<Self, Error> {
        let local = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|source| Error::io("reading a listener's address", source))
        };
        let (internal, public) = (local(&listeners.internal)?, local(&listeners.public)?);
        let waits = Waits {
            datastore: ctx.readiness.task("datastore"),
            lease: ctx.readiness.task("lease"),
        };
        let advertised = address::advertised(&config, internal).await;
        Ok(Self {
            config,
            ctx,
            mesh,
            store,
            listeners,
            internal,
            public,
            limits: Limits::default(),
            datastore_leaf: None,
            advertised,
            waits,
        })
    }

    /// Serves until drained.
    ///
    /// # Errors
    /// A listener that fails.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            config,
            ctx,
            mesh,
            store,
            listeners,
            limits,
            datastore_leaf,
            advertised,
            waits,
            ..
        } = self;
        let drain = ctx.drain.clone();
        let parts = Parts {
            config,
            ctx,
            mesh,
            store,
            datastore_leaf,
            advertised,
        };
        let (shared, publishers) = Shared::start(&parts, waits);
        let pending = Pending::default();
        let public = routes::public(&parts, &shared, &pending);
        let internal = routes::internal(&parts, &shared, &pending);
        duties::start(&parts, &shared, publishers);
        let serve_public = serve_http(
            listeners.public,
            parts.mesh.server_tls(ClientAuth::Optional),
            public,
            limits,
            drain.clone(),
        );
        let serve_internal = serve_grpc(
            listeners.internal,
            parts.mesh.server_tls(ClientAuth::Required),
            internal,
            drain,
        );
        futures::try_join!(serve_public, serve_internal)?;
        Ok(())
    }
}

/// What everything is made from.
struct Parts {
    config: Config,
    ctx: Context,
    mesh: Mesh,
    store: Datastore,
    datastore_leaf: Option<Leaf>,
    /// `ip:port` under which other supervisors reach this one.
    advertised: String,
}
