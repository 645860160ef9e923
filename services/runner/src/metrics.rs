//! What the runner counts.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use sextant_kit::Metrics;

/// The runner's metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerMetrics {
    /// Crashes of the component since the runner's start.
    pub(crate) crashes: Gauge,
    /// 1 while the component is ready.
    pub(crate) ready: Gauge,
    /// Memory of the component, 0 while it doesn't run.
    pub(crate) resident: Gauge,
    /// Tunnelled connections open now.
    pub(crate) egress_open: Gauge,
}

impl RunnerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let Self {
            crashes,
            ready,
            resident,
            egress_open,
        } = own.clone();
        metrics.register(|registry| {
            registry.register(
                "component_crashes",
                "Crashes since the runner's start",
                crashes,
            );
            registry.register("component_ready", "1 while the component is ready", ready);
            registry.register_with_unit(
                "component_resident_memory",
                "Memory of the component that is in RAM, 0 while it doesn't run",
                Unit::Bytes,
                resident,
            );
            registry.register(
                "egress_open_connections",
                "Connections into the node network open now",
                egress_open,
            );
        });
        own
    }
}
