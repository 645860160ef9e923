//! What is measured: `sextant_datastore_*`.

use crate::store::Size;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::time::Duration;

/// The metrics of the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    revision: Gauge,
    waiting: Gauge,
    batch_size: Histogram,
    commit_seconds: Histogram,
    watchers: Gauge,
    slow_watchers: Gauge,
    total_bytes: Gauge,
    used_bytes: Gauge,
    quota_bytes: Gauge,
    no_space: Gauge,
    compacted: Gauge,
    term: Gauge,
    writer: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn new(metrics: &sextant_kit::Metrics) -> Self {
        let new = Self {
            revision: Gauge::default(),
            waiting: Gauge::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            watchers: Gauge::default(),
            slow_watchers: Gauge::default(),
            total_bytes: Gauge::default(),
            used_bytes: Gauge::default(),
            quota_bytes: Gauge::default(),
            no_space: Gauge::default(),
            compacted: Gauge::default(),
            term: Gauge::default(),
            writer: Gauge::default(),
        };
        metrics.register(|registry| {
            let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
                registry.register(name, help, gauge.clone());
            };
            gauge("datastore_revision", "Newest revision", &new.revision);
            gauge(
                "datastore_waiting_requests",
                "Requests that wait for the writer, as of its last batch",
                &new.waiting,
            );
            gauge("datastore_watchers", "Open watches", &new.watchers);
            gauge(
                "datastore_slow_watchers",
                "Watches that read from the log because they can't follow",
                &new.slow_watchers,
            );
            gauge(
                "datastore_db_bytes",
                "Size of the database file",
                &new.total_bytes,
            );
            gauge(
                "datastore_db_used_bytes",
                "What of the database file holds something",
                &new.used_bytes,
            );
            gauge(
                "datastore_db_quota_bytes",
                "What may be used, 0 for no limit of ours",
                &new.quota_bytes,
            );
            gauge(
                "datastore_no_space",
                "1 while writes are refused because the quota is used up or the disk is full",
                &new.no_space,
            );
            gauge(
                "datastore_compact_revision",
                "Revision up to which old versions are forgotten",
                &new.compacted,
            );
            gauge(
                "datastore_term",
                "Epoch of the replica that writes, 0 while there is none or can be only one",
                &new.term,
            );
            gauge(
                "datastore_is_elected",
                "Whether this one of several replicas writes",
                &new.writer,
            );
            registry.register(
                "datastore_commit_batch_size",
                "Requests committed together",
                new.batch_size.clone(),
            );
            registry.register(
                "datastore_commit_seconds",
                "From the begin of a batch until it is durable",
                new.commit_seconds.clone(),
            );
        });
        new
    }

    pub(crate) fn waiting(&self, requests: usize) {
        self.waiting.set(requests.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn committed(&self, requests: usize, took: Duration) {
        self.batch_size
            .observe(f64::from(u32::try_from(requests).unwrap_or(u32::MAX)));
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn published(&self, revision: i64, (watchers, slow): (usize, usize)) {
        self.revision.set(revision);
        self.watchers(watchers, slow);
    }

    pub(crate) fn watchers(&self, watchers: usize, slow: usize) {
        self.watchers.set(watchers.try_into().unwrap_or(i64::MAX));
        self.slow_watchers.set(slow.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn elected(&self, epoch: i64, here: bool) {
        self.term.set(epoch);
        self.writer.set(here.into());
    }

    pub(crate) fn quota(&self, bytes: u64) {
        self.quota_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn compacted(&self, revision: i64) {
        self.compacted.set(revision);
    }

    pub(crate) fn no_space(&self, refused: bool) {
        self.no_space.set(refused.into());
    }

    pub(crate) fn size(&self, size: Size) {
        self.total_bytes
            .set(size.total.try_into().unwrap_or(i64::MAX));
        self.used_bytes
            .set(size.in_use.try_into().unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_is_warned_by_is_told() {
        let metrics = sextant_kit::Metrics::new();
        let own = Metrics::new(&metrics);
        own.published(7, (2, 1));
        own.compacted(5);
        own.quota(1 << 30);
        own.no_space(true);
        let text = metrics.encode().unwrap();
        for sample in [
            "revision 7",
            "compact_revision 5",
            "slow_watchers 1",
            "db_quota_bytes 1073741824",
            "no_space 1",
        ] {
            let line = format!("sextant_datastore_{sample}\n");
            assert!(text.contains(&line), "{line} isn't in {text}");
        }
    }
}
