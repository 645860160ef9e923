//! What a balancer counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of one or several balancers.
#[derive(Clone, Debug, Default)]
pub struct BalancerMetrics {
    pub(super) addresses: Gauge,
    pub(super) connections: Counter,
    pub(super) failures: Counter,
    pub(super) open: Gauge,
    pub(super) unserved: Counter,
}

impl BalancerMetrics {
    /// Registers them as `balancer_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self {
            addresses,
            connections,
            failures,
            open,
            unserved,
        } = metrics.clone();
        let registry = registry.sub_registry_with_prefix("balancer");
        registry.register(
            "addresses",
            "Addresses that connections are spread over",
            addresses,
        );
        registry.register(
            "connections",
            "Connections that an upstream accepted",
            connections,
        );
        registry.register(
            "connect_failures",
            "Attempts that an upstream didn't accept",
            failures,
        );
        registry.register("open_connections", "Connections open now", open);
        registry.register(
            "unserved",
            "Connections for which no upstream was found",
            unserved,
        );
        metrics
    }
}
