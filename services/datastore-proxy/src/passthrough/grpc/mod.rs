//! The etcd v3 services over an etcd.

mod cluster;
mod forward;
mod kv;
mod lease;
mod maintenance;
mod turns;

use super::Backend;
use crate::domain::authz::{Call, Caller};
use crate::grpc::MAX_MESSAGE;
use crate::grpc::caller;
use crate::grpc::election::Elections;
use crate::grpc::lock::Locks;
use crate::grpc::watch::Watches;
use crate::slow::SlowLog;
use sextant_kit::Drain;
use sextant_proto::etcd::etcdserverpb::cluster_server::ClusterServer;
use sextant_proto::etcd::etcdserverpb::kv_server::KvServer;
use sextant_proto::etcd::etcdserverpb::lease_server::LeaseServer;
use sextant_proto::etcd::etcdserverpb::maintenance_server::MaintenanceServer;
use sextant_proto::etcd::etcdserverpb::watch_server::WatchServer;
use sextant_proto::etcd::v3electionpb::election_server::ElectionServer;
use sextant_proto::etcd::v3lockpb::lock_server::LockServer;
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request, Status};

/// What the services need.
#[derive(Clone)]
pub struct Serving {
    /// The etcd.
    pub backend: Backend,
    /// How often a watch that asked for it hears of progress.
    pub progress: Duration,
    /// Tells of slow requests.
    pub slow: SlowLog,
    /// Ends the streams.
    pub drain: Drain,
    /// Whether a connection without a certificate is the local user.
    pub trusts_loopback: bool,
    /// Where clients reach this, for MemberList.
    pub client_url: String,
}

impl Serving {
    fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status> {
        caller::of(request, self.trusts_loopback, call)
    }
}

/// All services.
pub async fn routes(serving: Serving) -> Routes {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let watches = Watches {
        source: serving.backend.clone(),
        progress: serving.progress,
        drain: serving.drain.clone(),
        trusts_loopback: serving.trusts_loopback,
    };
    Routes::new(health_service)
        .add_service(KvServer::new(kv::Kv(serving.clone())).max_decoding_message_size(MAX_MESSAGE))
        .add_service(WatchServer::new(watches).max_decoding_message_size(MAX_MESSAGE))
        .add_service(LeaseServer::new(lease::Leases(serving.clone())))
        .add_service(LockServer::new(Locks(serving.clone())))
        .add_service(ElectionServer::new(Elections(serving.clone())))
        .add_service(MaintenanceServer::new(maintenance::Maintenance(
            serving.clone(),
        )))
        .add_service(ClusterServer::new(cluster::Cluster(serving)))
}
