//! What the node measures.

use prometheus_client::metrics::gauge::Gauge;
use sextant_kit::Metrics;
use std::sync::atomic::AtomicU64;

/// The agent's own metrics; calls over the mesh are measured by the mesh.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    /// Supervisors with an open session.
    pub sessions: Gauge,
    /// Other nodes on the overlay.
    pub peers: Gauge,
    /// End of the node's mesh certificate, seconds since 1970.
    pub certificate_expires: Gauge<f64, AtomicU64>,
    /// Restarts of containerd, kubelet and kube-proxy after a crash.
    pub child_crashes: Gauge,
}

impl NodeMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "node_sessions",
                "Supervisors with an open session",
                own.sessions.clone(),
            );
            registry.register(
                "node_peers",
                "Other nodes on the overlay",
                own.peers.clone(),
            );
            registry.register(
                "node_certificate_expires_seconds",
                "End of the node's mesh certificate, seconds since 1970",
                own.certificate_expires.clone(),
            );
            registry.register(
                "node_child_crashes",
                "Restarts of containerd, kubelet and kube-proxy after a crash",
                own.child_crashes.clone(),
            );
        });
        own
    }
}
