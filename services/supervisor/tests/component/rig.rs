//! Supervisors and what they need, on port 0.

use crate::authority::Authorities;
use crate::datastore::Store;
use crate::tokens::Tokens;
use sextant_identity::pin::PinnedClient;
use sextant_identity::{
    Channel, ClientAuth, Identity, Limits, Mesh, Peer, ServerTls, ServiceName, serve_grpc_with,
};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::certauthority::cert_authority_server::CertAuthorityServer;
use sextant_proto::etcd::etcdserverpb::kv_server::KvServer;
use sextant_proto::etcd::etcdserverpb::lease_server::LeaseServer;
use sextant_proto::etcd::etcdserverpb::watch_server::WatchServer;
use sextant_proto::tokenservice::join_tokens_server::JoinTokensServer;
use sextant_proto::tokenservice::{CreateRequest, Scope};
use sextant_testkit::{Root, eventually};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use supervisor::app::{Bound, Listeners};
use supervisor::config::{Config, Part};
use supervisor::store::Datastore;
use tonic::service::Routes;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Everything around the supervisors.
pub struct Rig {
    pub root: Root,
    pub store: Store,
    pub tokens: Tokens,
    pub authorities: Authorities,
    pub folder: tempfile::TempDir,
    _trigger: DrainTrigger,
    datastore: SocketAddr,
    token_service: SocketAddr,
    cert_authority: SocketAddr,
}

/// One replica.
pub struct Replica {
    pub internal: String,
    pub public: String,
    pub ctx: Context,
    pub trigger: DrainTrigger,
    task: tokio::task::JoinHandle<Result<(), supervisor::Error>>,
}

impl Rig {
    pub async fn new() -> Self {
        let root = Root::new();
        let (ctx, trigger) = Context::new();
        let store = Store::new();
        let tokens = Tokens::new(&root.bundle().mesh_pem());
        let authorities = Authorities::new(root.clone());
        let datastore_mesh = root.mesh(ServiceName::DatastoreProxy);
        let leaf = root.datastore_leaf(ServiceName::DatastoreProxy);
        let routes = Routes::new(KvServer::new(store.clone()))
            .add_service(WatchServer::new(store.clone()))
            .add_service(LeaseServer::new(store.clone()));
        let datastore = serve(datastore_mesh.datastore_server_tls(&leaf), routes, &ctx).await;
        let mesh_tls = |service: ServiceName| root.mesh(service).server_tls(ClientAuth::Required);
        let routes = Routes::new(JoinTokensServer::new(tokens.clone()));
        let token_service = serve(mesh_tls(ServiceName::TokenService), routes, &ctx).await;
        let routes = Routes::new(CertAuthorityServer::new(authorities.clone()));
        let cert_authority = serve(mesh_tls(ServiceName::CertAuthority), routes, &ctx).await;
        Self {
            root,
            store,
            tokens,
            authorities,
            folder: tempfile::tempdir().unwrap(),
            _trigger: trigger,
            datastore,
            token_service,
            cert_authority,
        }
    }

    /// Starts a replica and waits until it is ready.
    pub async fn supervisor(&self) -> Replica {
        self.supervisor_with(Limits::default()).await
    }

    /// The same with other bounds of its public listener.
    pub async fn supervisor_with(&self, limits: Limits) -> Replica {
        self.replica(limits, vec![]).await
    }

    /// One that asks these parts for their state.
    pub async fn supervisor_of(&self, parts: Vec<Part>) -> Replica {
        self.replica(Limits::default(), parts).await
    }

    async fn replica(&self, limits: Limits, parts: Vec<Part>) -> Replica {
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            listen: loopback,
            public_listen: loopback,
            token_service: self.token_service.to_string(),
            nodes_folder: self.folder.path().to_owned(),
            parts,
            ..Config::default()
        };
        let (ctx, trigger) = Context::new();
        let mesh = self
            .root
            .mesh(ServiceName::Supervisor)
            .with_cert_authority(&self.cert_authority.to_string());
        let leaf = self.root.datastore_leaf(ServiceName::Supervisor);
        let address = format!("localhost:{}", self.datastore.port());
        let client = mesh.datastore_client_with(&address, &leaf).await.unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let store = Datastore::new(client);
        let mut bound = Bound::new(config, ctx.clone(), mesh, store, listeners)
            .await
            .unwrap();
        bound.limits = limits;
        let (internal, public) = (bound.internal.to_string(), bound.public.to_string());
        let task = tokio::spawn(bound.run());
        eventually(DEADLINE, "the supervisor is ready", || async {
            let waiting = ctx.readiness.waiting();
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(waiting)
            }
        })
        .await;
        Replica {
            internal,
            public,
            ctx,
            trigger,
            task,
        }
    }

    /// A fresh token.
    pub fn token(&self, node_name: &str, max_uses: u32) -> String {
        let scope = Scope {
            node_name: node_name.into(),
            max_uses,
            cidrs: vec![],
        };
        let request = CreateRequest {
            scope: Some(scope),
            ttl_seconds: 3600,
            ..Default::default()
        };
        self.tokens.make(request).secret
    }

    pub fn mesh(&self, identity: impl Into<Identity>) -> Mesh {
        self.root.mesh(identity)
    }

    /// The join API with pinned anchors.
    pub async fn join_api(&self, replica: &Replica) -> PinnedClient {
        PinnedClient::connect_trusting(&replica.public, &self.root.bundle().mesh_pem())
            .await
            .unwrap()
    }

    /// The internal listener, as `service` reaches it.
    pub fn internal(&self, replica: &Replica, service: ServiceName) -> Channel {
        self.mesh(service)
            .channel(&replica.internal, Peer::Service(ServiceName::Supervisor))
    }

    /// The public listener, as `identity` reaches it.
    pub fn public(&self, replica: &Replica, identity: impl Into<Identity>) -> Channel {
        self.mesh(identity)
            .channel(&replica.public, Peer::Service(ServiceName::Supervisor))
    }
}

impl Replica {
    /// Dies without a word: its lease stays until it expires.
    pub fn kill(self) {
        self.task.abort();
        self.trigger.start();
    }
}

async fn serve(tls: ServerTls, routes: Routes, ctx: &Context) -> SocketAddr {
    let listener = sextant_kit::net::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let authorize = Arc::new(AllowAll);
    let serving = serve_grpc_with(
        listener,
        tls,
        routes,
        authorize,
        Limits::default(),
        ctx.drain.clone(),
    );
    tokio::spawn(serving);
    address
}

struct AllowAll;

impl sextant_identity::authz::Authorize for AllowAll {
    fn authorize(
        &self,
        _: &str,
        _: Option<&Identity>,
    ) -> Result<(), sextant_identity::authz::Refusal> {
        Ok(())
    }
}
