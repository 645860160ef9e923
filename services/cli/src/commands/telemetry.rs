//! `sextant log-level` and `sextant sampling`
use crate::args::{LogLevel, Sampling};
use crate::duration::human;
use crate::output::{Table, View};
use serde::Serialize;
use sextant_proto::supervisor::{
    ChangeTelemetryRequest, ChangeTelemetryResponse, ReplicaTelemetry,
};
use sextant_proto::telemetry::{ChangeRequest, LogChange, SamplingChange, Settings};
use std::time::Duration;
use time::OffsetDateTime;

/// What is in force in one process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaView<T> {
    service: String,
    place: String,
    /// Missing where it isn't known.
    #[serde(flatten)]
    found: Option<T>,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

/// What each process logs.
#[derive(Debug, Serialize)]
pub struct LogLevelsView {
    replicas: Vec<ReplicaView<Levels>>,
}

/// What a process logs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Levels {
    filter: String,
    configured: String,
    reverts_in_seconds: u32,
}

/// Which traces each process exports.
#[derive(Debug, Serialize)]
pub struct SamplingView {
    replicas: Vec<ReplicaView<Shares>>,
}

/// Which traces a process exports.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shares {
    ratio: f64,
    configured: f64,
    slow_ms: u32,
    reverts_in_seconds: u32,
    exports_traces: bool,
}

impl LogLevel {
    /// What is asked of the cluster.
    pub(crate) fn request(self) -> ChangeTelemetryRequest {
        let log = self.wanted.map(|filter| LogChange {
            // The cluster's word for "as configured".
            filter: if filter == RESET {
                String::new()
            } else {
                filter
            },
            for_seconds: seconds(self.lasts),
        });
        let change = Some(ChangeRequest {
            log,
            sampling: None,
        });
        ChangeTelemetryRequest {
            service: self.service.unwrap_or_default(),
            change,
        }
    }
}

impl Sampling {
    /// What is asked of the cluster.
    pub(crate) fn request(self) -> ChangeTelemetryRequest {
        let slow_ms = self.slow.map(|slow| slow.0);
        let for_seconds = seconds(self.lasts);
        let ratio = self.wanted.as_ref().and_then(|wanted| wanted.0);
        let is_change = self.wanted.is_some() || slow_ms.is_some();
        let sampling = is_change.then_some(SamplingChange {
            ratio,
            slow_ms,
            for_seconds,
        });
        let change = Some(ChangeRequest {
            log: None,
            sampling,
        });
        ChangeTelemetryRequest {
            service: self.service.unwrap_or_default(),
            change,
        }
    }
}

/// The word that takes a change back.
pub(crate) const RESET: &str = "reset";

fn seconds(lasts: Option<Duration>) -> u32 {
    lasts.map_or(0, |lasts| {
        u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX)
    })
}

impl From<ChangeTelemetryResponse> for LogLevelsView {
    fn from(response: ChangeTelemetryResponse) -> Self {
        let replicas = views(response, |settings| Levels {
            filter: settings.log_filter,
            configured: settings.configured_log_filter,
            reverts_in_seconds: settings.log_reverts_in_seconds,
        });
        Self { replicas }
    }
}

impl From<ChangeTelemetryResponse> for SamplingView {
    fn from(response: ChangeTelemetryResponse) -> Self {
        let replicas = views(response, |settings| Shares {
            ratio: settings.sampling_ratio,
            configured: settings.configured_sampling_ratio,
            slow_ms: settings.slow_ms,
            reverts_in_seconds: settings.sampling_reverts_in_seconds,
            exports_traces: settings.exports_traces,
        });
        Self { replicas }
    }
}

fn views<T>(response: ChangeTelemetryResponse, found: fn(Settings) -> T) -> Vec<ReplicaView<T>> {
    let view = |replica: ReplicaTelemetry| ReplicaView {
        service: replica.service,
        place: replica.place,
        found: replica.settings.map(found),
        error: replica.error,
    };
    response.replicas.into_iter().map(view).collect()
}

impl LogLevelsView {
    /// Whether every process has answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.replicas.iter().all(|replica| replica.found.is_some())
    }
}

impl SamplingView {
    /// Whether every process has answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.replicas.iter().all(|replica| replica.found.is_some())
    }
}

impl View for LogLevelsView {
    fn table(&self, _: OffsetDateTime) -> String {
        let mut table = Table::new(&["SERVICE", "WHERE", "FILTER", "CONFIGURED", "UNTIL"]);
        for replica in &self.replicas {
            table.row(replica.cells(|levels| {
                let until = until(
                    levels.reverts_in_seconds,
                    levels.filter == levels.configured,
                );
                [levels.filter.clone(), levels.configured.clone(), until]
            }));
        }
        table.render()
    }
}

impl View for SamplingView {
    fn table(&self, _: OffsetDateTime) -> String {
        let header = ["SERVICE", "WHERE", "SHARE", "CONFIGURED", "SLOW", "UNTIL"];
        let mut table = Table::new(&header);
        for replica in &self.replicas {
            table.row(replica.cells(|shares| {
                let as_configured = shares.ratio.to_bits() == shares.configured.to_bits();
                let share = match shares.exports_traces {
                    true => shares.ratio.to_string(),
                    false => "exports none".to_owned(),
                };
                [
                    share,
                    shares.configured.to_string(),
                    format!("{} ms", shares.slow_ms),
                    until(shares.reverts_in_seconds, as_configured),
                ]
            }));
        }
        table.render()
    }
}

impl<T> ReplicaView<T> {
    /// The error takes the place of what isn't known.
    fn cells<const N: usize>(&self, found: impl Fn(&T) -> [String; N]) -> Vec<String> {
        let mut values = vec![String::new(); N];
        match &self.found {
            Some(value) => values.clone_from_slice(&found(value)),
            None => values[0] = format!("unknown: {}", self.error),
        }
        [vec![self.service.clone(), self.place.clone()], values].concat()
    }
}

fn until(reverts_in_seconds: u32, as_configured: bool) -> String {
    match reverts_in_seconds {
        0 if as_configured => String::new(),
        0 => "it ends".to_owned(),
        seconds => format!("in {}", human(Duration::from_secs(seconds.into()))),
    }
}
