//! What the two listeners serve.

use super::Parts;
use super::shared::Shared;
use crate::admin::{AdminService, Overviews};
use crate::config::Part;
use crate::domain::components::Component;
use crate::grpc::ComponentsService;
use crate::join::{Attempts, JoinApi, Nonces, router};
use crate::metrics::{JoinMetrics, TunnelMetrics};
use crate::session::{NodeSessions, Sources};
use crate::telemetry::{Everywhere, NodeRelayService, Nodes, Replicas};
use crate::tunnel::{Carrier, EgressTunnel, Map, Pending};
use sextant_identity::authz;
use sextant_kit::telemetry;
use sextant_proto::supervisor::admin_server::AdminServer;
use sextant_proto::supervisor::components_server::ComponentsServer;
use sextant_proto::supervisor::egress_server::EgressServer;
use sextant_proto::supervisor::node_relay_server::NodeRelayServer;
use sextant_proto::supervisor::node_session_server::NodeSessionServer;
use tokio::sync::watch;
use tonic::service::Routes;

/// The join API, and gRPC for nodes and administrators.
pub(super) fn public(parts: &Parts, shared: &Shared, pending: &Pending) -> axum::Router {
    let ctx = &parts.ctx;
    let join = JoinApi {
        cluster: shared.cluster.clone(),
        mesh: parts.mesh.clone(),
        trust: parts.mesh.trust(),
        tokens: shared.tokens.clone(),
        issuer: shared.issuer.clone(),
        store: parts.store.clone(),
        state: shared.state.clone(),
        hub: shared.hub.clone(),
        nonces: Nonces::default(),
        attempts: Attempts::default(),
        metrics: JoinMetrics::new(&ctx.metrics),
    };
    let sources = Sources {
        cluster: shared.cluster.clone(),
        fleet: shared.fleet.clone(),
        trust: parts.mesh.trust(),
        store: parts.store.clone(),
        drain: ctx.drain.clone(),
    };
    let (hub, issuer) = (shared.hub.clone(), shared.issuer.clone());
    let sessions = NodeSessions::new(hub, pending.clone(), issuer, sources);
    let admin = AdminService {
        cluster: shared.cluster.clone(),
        parts: parts.config.parts.clone(),
        mesh: parts.mesh.clone(),
        issuer: shared.issuer.clone(),
        tokens: shared.tokens.clone(),
        store: parts.store.clone(),
        state: shared.state.clone(),
        hub: shared.hub.clone(),
        kube_nodes: shared.kube_nodes.clone(),
        overviews: Overviews::new(&parts.config.parts),
        events: shared.events.clone(),
        telemetry: Everywhere {
            replicas: Replicas::new(
                &parts.config.parts,
                parts.mesh.clone(),
                parts.datastore_leaf.clone(),
            ),
            nodes: nodes(parts, shared),
            has_network_policy: shared.cluster.network_policy,
        },
        address: parts.advertised.clone(),
    };
    let grpc = Routes::new(NodeSessionServer::new(sessions)).add_service(AdminServer::new(admin));
    router(join).merge(authz::guard(grpc))
}

/// gRPC for runners and other supervisors.
pub(super) fn internal(parts: &Parts, shared: &Shared, pending: &Pending) -> Routes {
    let drain = parts.ctx.drain.clone();
    // The configuration is read at start, so this value doesn't change while the process runs.
    let (_, cluster) = watch::channel(shared.cluster.clone());
    let api_server = |part: &&Part| part.name == Component::ApiServer.name();
    let components = ComponentsService::new(
        cluster,
        parts.config.parts.iter().find(api_server).cloned(),
        shared.queues.clone(),
        shared.lease.clone(),
        drain.clone(),
    );
    let carrier = Carrier {
        hub: shared.hub.clone(),
        pending: pending.clone(),
        metrics: TunnelMetrics::new(&parts.ctx.metrics),
        drain,
    };
    let map = Map {
        cluster: shared.cluster.clone(),
        fleet: shared.fleet.clone(),
        state: shared.state.clone(),
        replica: shared.replica.clone(),
    };
    let egress = EgressTunnel::new(carrier, parts.mesh.clone(), map);
    Routes::new(ComponentsServer::new(components))
        .add_service(EgressServer::new(egress))
        .add_service(NodeRelayServer::new(NodeRelayService(nodes(parts, shared))))
        .add_service(telemetry::server())
}

fn nodes(parts: &Parts, shared: &Shared) -> Nodes {
    Nodes {
        hub: shared.hub.clone(),
        fleet: shared.fleet.clone(),
        state: shared.state.clone(),
        replica: shared.replica.clone(),
        mesh: parts.mesh.clone(),
    }
}
