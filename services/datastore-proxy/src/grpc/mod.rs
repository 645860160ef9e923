//! The etcd v3 services.

pub(crate) mod caller;
mod cluster;
pub(crate) mod convert;
pub(crate) mod election;
pub(crate) mod kv;
mod lease;
pub(crate) mod lock;
mod maintenance;
pub(crate) mod pieces;
pub(crate) mod queue;
mod reads;
mod replica;
mod snapshot;
mod status;
mod turns;
pub(crate) mod watch;

pub use reads::Reads;
pub use replica::replica_routes;

use crate::engine::Engine;
use crate::slow::SlowLog;
use axum::body::Body;
use axum::http;
use axum::routing::any;
use sextant_kit::Drain;
use sextant_proto::etcd::etcdserverpb::cluster_server::ClusterServer;
use sextant_proto::etcd::etcdserverpb::kv_server::KvServer;
use sextant_proto::etcd::etcdserverpb::lease_server::LeaseServer;
use sextant_proto::etcd::etcdserverpb::maintenance_server::MaintenanceServer;
use sextant_proto::etcd::etcdserverpb::watch_server::WatchServer;
use sextant_proto::etcd::v3electionpb::election_server::ElectionServer;
use sextant_proto::etcd::v3lockpb::lock_server::LockServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::service::Routes;

/// Largest request that is carried out, as in etcd.
pub const MAX_REQUEST: usize = 1536 * 1024;
/// Largest message that is read at all: a larger one is refused before it is in memory.
pub(crate) const MAX_MESSAGE: usize = MAX_REQUEST + 512 * 1024;

/// What the services need.
#[derive(Clone)]
pub struct Services {
    /// The store.
    pub engine: Engine,
    /// How often a watch that asked for it hears of progress.
    pub progress: Duration,
    /// Ends the watches.
    pub drain: Drain,
    /// Whether a connection without a certificate is the local user.
    pub trusts_loopback: bool,
    /// Tells of slow requests.
    pub slow: SlowLog,
    /// Turns of reading.
    pub reads: Reads,
    /// Turns of making a snapshot.
    pub snapshots: Arc<Semaphore>,
    /// Where clients reach this, for MemberList.
    pub client_url: String,
}

/// All services.
pub async fn routes(services: Services) -> Routes {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let routes = Routes::new(health_service)
        .add_service(KvServer::new(kv::Kv(services.clone())).max_decoding_message_size(MAX_MESSAGE))
        .add_service(
            WatchServer::new(watch::Watches {
                source: services.clone(),
                progress: services.progress,
                drain: services.drain.clone(),
                trusts_loopback: services.trusts_loopback,
            })
            .max_decoding_message_size(MAX_MESSAGE),
        )
        .add_service(LeaseServer::new(lease::Leases(services.clone())))
        .add_service(LockServer::new(lock::Locks(services.clone())))
        .add_service(ElectionServer::new(election::Elections(services.clone())))
        .add_service(MaintenanceServer::new(maintenance::Maintenance(
            services.clone(),
        )))
        .add_service(ClusterServer::new(cluster::Cluster(services)));
    let router = routes.prepare().into_axum_router();
    Routes::from(router.route("/etcdserverpb.Auth/{call}", any(no_users)))
}

/// What a client hears who asks for users or roles.
async fn no_users() -> http::Response<Body> {
    Status::unimplemented(
        "users and roles are not served: who may do what follows from the client's certificate",
    )
    .into_http()
}
