//! What the controller counts.

use crate::nft::denied::Denied;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

/// The controller's metrics, `sextant_netpol_*`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Policies of the cluster.
    pub policies: Gauge,
    /// Pods of this node that have an address of their own.
    pub pods: Gauge,
    /// From the first change taken up to the kernel holding it.
    pub sync: Histogram,
    /// Of that, until it is known what to change in the kernel.
    pub compile: Histogram,
    /// Of that, the kernel's part.
    pub commit: Histogram,
    /// Netlink messages sent to change the table.
    pub messages: Counter,
    /// Transactions.
    pub commits: Counter,
    /// Changes that the kernel refused.
    pub errors: Counter,
    /// Comparisons that found the table changed by somebody else.
    pub repairs: Counter,
    /// Connections ended because no policy allows them any more.
    pub cut: Counter,
    /// Errors of watches of the Kubernetes API.
    pub watch_errors: Counter,
}

impl Metrics {
    /// Registers them, and what the kernel counts.
    pub fn register(metrics: &sextant_kit::Metrics, denied: Denied) -> Self {
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("netpol");
            let own = Self {
                policies: Gauge::default(),
                pods: Gauge::default(),
                sync: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
                compile: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
                commit: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
                messages: Counter::default(),
                commits: Counter::default(),
                errors: Counter::default(),
                repairs: Counter::default(),
                cut: Counter::default(),
                watch_errors: Counter::default(),
            };
            registry.register_collector(Box::new(denied));
            registry.register("policies", "Policies of the cluster", own.policies.clone());
            registry.register(
                "pods",
                "Pods of this node with an own address",
                own.pods.clone(),
            );
            registry.register_with_unit(
                "sync",
                "From taking up a change to the kernel holding it",
                Unit::Seconds,
                own.sync.clone(),
            );
            registry.register_with_unit(
                "compile",
                "From taking up a change to knowing what to change in the kernel",
                Unit::Seconds,
                own.compile.clone(),
            );
            registry.register_with_unit(
                "commit",
                "What the kernel takes for a change",
                Unit::Seconds,
                own.commit.clone(),
            );
            registry.register("messages", "Netlink messages", own.messages.clone());
            registry.register("commits", "Transactions", own.commits.clone());
            registry.register(
                "errors",
                "Changes that the kernel refused",
                own.errors.clone(),
            );
            registry.register("repairs", "Foreign changes undone", own.repairs.clone());
            registry.register("cut_connections", "Connections ended", own.cut.clone());
            registry.register(
                "watch_errors",
                "Errors of API watches",
                own.watch_errors.clone(),
            );
            own
        })
    }
}
