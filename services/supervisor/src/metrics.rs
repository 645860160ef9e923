//! The supervisor's own metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sextant_kit::Metrics;

/// Connections through the tunnel.
#[derive(Clone, Debug, Default)]
pub struct TunnelMetrics {
    open: Gauge,
    connections: Counter,
    up: Counter,
    down: Counter,
}

/// Counts as open until dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl TunnelMetrics {
    /// Registered metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "tunnel_open_connections",
                "Tunnel connections that are open",
                own.open.clone(),
            );
            registry.register(
                "tunnel_connections",
                "Tunnel connections that were opened",
                own.connections.clone(),
            );
            registry.register(
                "tunnel_from_nodes_bytes",
                "Bytes that came from nodes",
                own.up.clone(),
            );
            registry.register(
                "tunnel_to_nodes_bytes",
                "Bytes sent to nodes",
                own.down.clone(),
            );
        });
        own
    }

    pub(crate) fn opened(&self) -> OpenConnection {
        self.connections.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn count_up(&self, bytes: usize) {
        self.up.inc_by(bytes as u64);
    }

    pub(crate) fn count_down(&self, bytes: usize) {
        self.down.inc_by(bytes as u64);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Answers of the join API by outcome.
#[derive(Clone, Debug, Default)]
pub struct JoinMetrics {
    outcomes:
        prometheus_client::metrics::family::Family<Vec<(&'static str, &'static str)>, Counter>,
}

impl JoinMetrics {
    /// Registered metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("joins", "Answers of the join API", own.outcomes.clone());
        });
        own
    }

    pub(crate) fn count(&self, call: &'static str, outcome: &'static str) {
        self.outcomes
            .get_or_create(&vec![("call", call), ("outcome", outcome)])
            .inc();
    }
}
