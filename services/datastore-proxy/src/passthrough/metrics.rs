//! What is measured of the way to etcd: `sextant_datastore_etcd_*`, beside what every backend has.

use crate::metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// The metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Of the watches.
    pub(super) datastore: metrics::Metrics,
    failures: Family<Labels, Counter>,
    feeds: Counter,
    catching_up: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    member: String,
}

impl Metrics {
    pub(super) fn new(metrics: &sextant_kit::Metrics) -> Self {
        let new = Self {
            datastore: metrics::Metrics::new(metrics),
            failures: Family::default(),
            feeds: Counter::default(),
            catching_up: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "datastore_etcd_failures",
                "Calls that a member of the etcd left without an answer",
                new.failures.clone(),
            );
            registry.register(
                "datastore_etcd_feeds",
                "Streams opened to follow the etcd",
                new.feeds.clone(),
            );
            registry.register(
                "datastore_etcd_catch_ups",
                "Streams opened for watches that start in the past",
                new.catching_up.clone(),
            );
        });
        new
    }

    pub(super) fn failed(&self, member: &str) {
        let member = member.to_owned();
        self.failures.get_or_create(&Labels { member }).inc();
    }

    pub(super) fn feed(&self) {
        self.feeds.inc();
    }

    pub(super) fn catch_up(&self) {
        self.catching_up.inc();
    }
}
