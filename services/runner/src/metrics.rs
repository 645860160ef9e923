//! What the runner counts.

use prometheus_client::metrics::gauge::Gauge;
use sextant_kit::Metrics;

/// The runner's metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerMetrics {
    /// Crashes of the component since the runner's start.
    pub(crate) crashes: Gauge,
    /// 1 while the component is ready.
    pub(crate) ready: Gauge,
    /// Tunnelled connections open now.
    pub(crate) egress_open: Gauge,
}

impl RunnerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let Self {
            crashes,
            ready,
            egress_open,
        } = own.clone();
        metrics.register(|registry| {
            registry.register(
                "component_crashes",
                "Crashes since the runner's start",
                crashes,
            );
            registry.register("component_ready", "1 while the component is ready", ready);
            registry.register(
                "egress_open_connections",
                "Connections into the node network open now",
                egress_open,
            );
        });
        own
    }
}
