//! What a part's `/metrics` says, and what two looks at it say of the time between them.

mod exposition;
mod histogram;
mod history;
mod rates;
mod streams;

pub use exposition::label;
pub use history::{History, Look};
pub use rates::{call_rates, datastore};

use exposition::{Sample, samples};
use histogram::Histogram;

/// The few series of one replica that are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures {
    /// Version of the process, "" where it doesn't tell.
    pub version: String,
    /// When it started, Unix time, 0 where it doesn't tell.
    pub started_unix: i64,
    /// Its memory in bytes.
    pub resident_bytes: u64,
    /// Memory of the upstream component that it runs.
    pub component_resident_bytes: u64,
    /// The first end of life of the certificates that it renews, Unix time.
    pub certificate_not_after_unix: Option<i64>,
    /// Calls that it answered.
    pub calls: Calls,
    /// What only a datastore has.
    pub datastore: Option<Datastore>,
}

/// Calls that ended, since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// All of them.
    pub ended: f64,
    /// Those that failed because of the server.
    pub failed: f64,
    /// How long those took that aren't open by their nature.
    pub seconds: Histogram,
}

/// A datastore, since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Datastore {
    /// Newest revision.
    pub revision: i64,
    /// Size of the store.
    pub size_bytes: u64,
    /// What of it holds something.
    pub used_bytes: u64,
    /// Requests that wait for the writer.
    pub waiting: u64,
    /// Open watches.
    pub watches: u64,
    /// Those that can't follow.
    pub watches_behind: u64,
    /// Epoch of the elected replica.
    pub term: i64,
    /// Whether this one is it.
    pub elected: bool,
    /// Requests that were committed.
    pub requests: f64,
    /// How long commits took.
    pub commits: Histogram,
}

impl Measures {
    /// From OpenMetrics text; what isn't known or isn't well-formed is passed over.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut measures = Self::default();
        for sample in samples(text) {
            measures.take(&sample);
        }
        measures
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let Some(name) = sample.name.strip_prefix("sextant_") else {
            return;
        };
        match name {
            "build_info" => self.version = sample.label("version").unwrap_or_default().into_owned(),
            "process_start_time_seconds" => self.started_unix = whole(sample.value),
            "process_resident_memory_bytes" => self.resident_bytes = count(sample.value),
            "component_resident_memory_bytes" => {
                self.component_resident_bytes = count(sample.value);
            }
            "certificate_not_after_seconds" => {
                let end = whole(sample.value);
                let first = self.certificate_not_after_unix.get_or_insert(end);
                *first = end.min(*first);
            }
            _ => {
                if let Some(series) = name.strip_prefix("rpc_server_duration_seconds_") {
                    self.calls.take(series, sample);
                } else if let Some(series) = name.strip_prefix("datastore_") {
                    self.datastore
                        .get_or_insert_with(Datastore::default)
                        .take(series, sample);
                }
            }
        }
    }
}

impl Calls {
    fn take(&mut self, series: &str, sample: &Sample<'_>) {
        match series {
            "count" => {
                self.ended += sample.value;
                if sample.label("code").is_some_and(|code| is_failure(&code)) {
                    self.failed += sample.value;
                }
            }
            "bucket" => {
                let method = sample.label("method").unwrap_or_default();
                if !streams::stays_open(&method) {
                    self.seconds.add_bucket(sample);
                }
            }
            _ => {}
        }
    }
}

impl Datastore {
    fn take(&mut self, series: &str, sample: &Sample<'_>) {
        match series {
            "revision" => self.revision = whole(sample.value),
            "db_bytes" => self.size_bytes = count(sample.value),
            "db_used_bytes" => self.used_bytes = count(sample.value),
            "waiting_requests" => self.waiting = count(sample.value),
            "watchers" => self.watches = count(sample.value),
            "slow_watchers" => self.watches_behind = count(sample.value),
            "term" => self.term = whole(sample.value),
            "is_elected" => self.elected = sample.value == 1.0,
            "commit_batch_size_sum" => self.requests = sample.value,
            "commit_seconds_bucket" => self.commits.add_bucket(sample),
            _ => {}
        }
    }
}

/// Codes that say something of the server rather than of what it was asked.
fn is_failure(code: &str) -> bool {
    matches!(
        code,
        "DataLoss" | "DeadlineExceeded" | "Internal" | "Unavailable" | "Unimplemented" | "Unknown"
    )
}

/// `as` cuts off at the ends of the type, and makes 0 of what is no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "that is what is wanted of a number from elsewhere"
)]
fn count(value: f64) -> u64 {
    value as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "that is what is wanted of a number from elsewhere"
)]
fn whole(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP sextant_build What was built.
# TYPE sextant_build info
sextant_build_info{version="0.1.0"} 1
sextant_process_start_time_seconds 1795658400.25
sextant_process_resident_memory_bytes 12582912
sextant_certificate_not_after_seconds{certificate="mesh certificate"} 1795746303
sextant_certificate_not_after_seconds{certificate="certificate DATASTORE_SERVER"} 1795740000
sextant_rpc_server_duration_seconds_sum{method="/etcdserverpb.KV/Range",code="Ok",caller="supervisor"} 0.004
sextant_rpc_server_duration_seconds_count{method="/etcdserverpb.KV/Range",code="Ok",caller="supervisor"} 16
sextant_rpc_server_duration_seconds_bucket{le="0.0005",method="/etcdserverpb.KV/Range",code="Ok",caller="supervisor"} 15
sextant_rpc_server_duration_seconds_bucket{le="+Inf",method="/etcdserverpb.KV/Range",code="Ok",caller="supervisor"} 16
sextant_rpc_server_duration_seconds_count{method="/etcdserverpb.KV/Txn",code="Unavailable",caller="supervisor"} 2
sextant_rpc_server_duration_seconds_bucket{le="0.0005",method="/etcdserverpb.KV/Txn",code="Unavailable",caller="supervisor"} 0
sextant_rpc_server_duration_seconds_bucket{le="+Inf",method="/etcdserverpb.KV/Txn",code="Unavailable",caller="supervisor"} 2
sextant_rpc_server_duration_seconds_count{method="/etcdserverpb.Watch/Watch",code="Cancelled",caller="supervisor"} 1
sextant_rpc_server_duration_seconds_bucket{le="+Inf",method="/etcdserverpb.Watch/Watch",code="Cancelled",caller="supervisor"} 1
sextant_datastore_revision 862
sextant_datastore_db_bytes 4096000
sextant_datastore_watchers 63
sextant_datastore_is_elected 1
sextant_datastore_commit_batch_size_sum 2226.0
sextant_datastore_commit_seconds_bucket{le="0.0004"} 292
sextant_datastore_commit_seconds_bucket{le="+Inf"} 2083
# EOF
"#;

    #[test]
    fn takes_what_is_shown_and_leaves_the_rest() {
        let measures = Measures::read(TEXT);
        assert_eq!(measures.version, "0.1.0");
        assert_eq!(measures.started_unix, 1_795_658_400);
        assert_eq!(measures.resident_bytes, 12 << 20);
        assert_eq!(measures.certificate_not_after_unix, Some(1_795_740_000));
        assert_eq!((measures.calls.ended, measures.calls.failed), (19.0, 2.0));
        assert_eq!(
            measures.calls.seconds.total(),
            18.0,
            "a watch doesn't count"
        );
        let datastore = measures.datastore.unwrap();
        assert_eq!((datastore.revision, datastore.watches), (862, 63));
        assert!(datastore.elected);
        assert_eq!(
            (datastore.requests, datastore.commits.total()),
            (2226.0, 2083.0)
        );
    }

    #[test]
    fn a_part_without_a_datastore_has_none() {
        assert_eq!(
            Measures::read("sextant_rpc_server_open 3\n").datastore,
            None
        );
        assert_eq!(Measures::read(""), Measures::default());
    }
}
