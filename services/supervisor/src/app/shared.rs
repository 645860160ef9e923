//! What the tasks of a replica share, and the tasks that keep it fresh.

use super::{Parts, Waits, address, view};
use crate::certificates::Issuer;
use crate::domain::cluster::ClusterConfig;
use crate::domain::fleet::{Fleet, KubeNodes};
use crate::kube::EventsFollower;
use crate::metrics::NodeMetrics;
use crate::session::{self, Hub};
use crate::store::lease;
use crate::store::mirror::{self, State};
use crate::store::tickets::Queues;
use sextant_identity::{Channel, Peer, ServiceName};
use sextant_proto::tokenservice::join_tokens_client::JoinTokensClient;
use std::sync::Arc;
use tokio::sync::watch;

/// Shared values of one replica.
#[derive(Clone)]
pub(super) struct Shared {
    /// Name of this replica, new at each start.
    pub replica: String,
    pub cluster: Arc<ClusterConfig>,
    pub hub: Hub,
    pub state: watch::Receiver<Arc<State>>,
    pub lease: watch::Receiver<Option<i64>>,
    pub fleet: watch::Receiver<Arc<Fleet>>,
    pub kube_nodes: watch::Receiver<Arc<KubeNodes>>,
    pub queues: Queues,
    pub issuer: Issuer,
    pub tokens: JoinTokensClient<Channel>,
    /// kube-apiserver, once this replica has a certificate for it.
    pub api: watch::Receiver<Option<kube::Client>>,
    pub events: EventsFollower,
}

/// Where the duties publish what they find.
pub(super) struct Publishers {
    pub kube_nodes: watch::Sender<Arc<KubeNodes>>,
    pub api: watch::Sender<Option<kube::Client>>,
}

impl Shared {
    /// Starts the tasks; what comes from the API is published by the caller.
    pub fn start(parts: &Parts, waits: Waits) -> (Self, Publishers) {
        let (drain, store) = (&parts.ctx.drain, &parts.store);
        let cluster = Arc::new(parts.config.cluster.clone());
        let replica = format!("{}-{:08x}", address::host_name(), rand::random::<u32>());
        let hub = Hub::default();
        let (state_sender, state) = watch::channel(Arc::new(State::default()));
        let (lease_sender, lease) = watch::channel(None);
        let (kube_sender, kube_nodes) = watch::channel(Arc::new(KubeNodes::new()));
        NodeMetrics::register(&parts.ctx.metrics, kube_nodes.clone());
        let (api_sender, api) = watch::channel(None);
        let fleet = view::follow(state.clone(), kube_nodes.clone(), drain);
        drain.spawn(mirror::run(
            store.clone(),
            state_sender,
            waits.datastore,
            drain.clone(),
        ));
        // Not dropped by the drain: it gives its lease back, so that others take over at once.
        let guard = drain.guard();
        let keeper = lease::run(store.clone(), lease_sender, waits.lease, drain.clone());
        tokio::spawn(async move {
            keeper.await;
            drop(guard);
        });
        drain.spawn(session::register(
            hub.clone(),
            store.clone(),
            lease.clone(),
            replica.clone(),
            parts.advertised.clone(),
            drain.clone(),
        ));
        let peer = Peer::Service(ServiceName::TokenService);
        let tokens = parts.mesh.spread_channel(&parts.config.token_service, peer);
        let shared = Self {
            replica,
            hub,
            queues: Queues::new(store.clone(), state.clone(), lease.clone()),
            state,
            lease,
            fleet,
            kube_nodes,
            issuer: Issuer::new(parts.mesh.clone(), store.clone(), Arc::clone(&cluster)),
            cluster,
            tokens: JoinTokensClient::new(tokens),
            events: EventsFollower::start(api.clone(), drain),
            api,
        };
        let publishers = Publishers {
            kube_nodes: kube_sender,
            api: api_sender,
        };
        (shared, publishers)
    }
}
