//! Metrics over OTLP: what the registry holds, sent once in a while. Nothing is counted twice for it, so a call pays
//! nothing.

mod otlp;

use crate::error::Error;
use crate::metrics::Metrics;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_sdk::Resource;
use otlp::Process;
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;

/// OpenTelemetry's own variables, and how often it is without the second.
const EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const INTERVAL: (&str, Duration) = ("OTEL_METRIC_EXPORT_INTERVAL", Duration::from_secs(60));

/// Sends what a registry holds.
#[derive(Clone, Debug)]
pub(super) struct Exporter {
    client: MetricsServiceClient<Channel>,
    process: Process,
    every: Duration,
}

impl Exporter {
    /// Of the process that `resource` describes, which has just started. None where nobody wants any.
    pub(super) fn new(resource: &Resource, collector: Channel) -> Result<Option<Self>, Error> {
        let said = |name| std::env::var(name).ok().filter(|said| !said.is_empty());
        let exporter = Self {
            client: MetricsServiceClient::new(collector),
            process: Process::new(resource, SystemTime::now()),
            every: every(said(INTERVAL.0).as_deref())?,
        };
        Ok(is_wanted(said(EXPORTER).as_deref())?.then_some(exporter))
    }

    /// Sends again and again what `metrics` holds. What couldn't be sent isn't kept: the next one tells as much.
    pub(super) async fn send_on(self, metrics: Metrics) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, when there is nothing to tell.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.send(&metrics, self.every).await;
        }
    }

    /// Sends what `metrics` holds, within `limit`.
    pub(super) async fn send(&self, metrics: &Metrics, limit: Duration) {
        let Ok(families) = metrics.families() else {
            return;
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![self.process.tell(families, SystemTime::now())],
        };
        let mut client = self.client.clone();
        let failed = match timeout(limit, client.export(request)).await {
            Ok(answer) => answer.err().map(|status| status.to_string()),
            Err(_) => Some(format!("no answer within {limit:?}")),
        };
        if let Some(error) = failed {
            tracing::debug!(error, "metrics were not sent");
        }
    }
}

fn is_wanted(said: Option<&str>) -> Result<bool, Error> {
    match said {
        None | Some("otlp") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(Error::Telemetry(format!(
            "{EXPORTER}: `{other}` isn't known: otlp or none is"
        ))),
    }
}

/// `said` is in milliseconds.
fn every(said: Option<&str>) -> Result<Duration, Error> {
    let (name, usual) = INTERVAL;
    let Some(said) = said else {
        return Ok(usual);
    };
    let millis = said.parse().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| {
        Error::Telemetry(format!("{name}: `{said}` is no number of milliseconds"))
    })?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_the_standard_variables_to_say() {
        assert_eq!(every(None).unwrap(), Duration::from_secs(60));
        assert_eq!(every(Some("500")).unwrap(), Duration::from_millis(500));
        for wrong in ["0", "-1", "1s"] {
            let error = every(Some(wrong)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn whether_at_all_is_as_well() {
        assert!(is_wanted(None).unwrap());
        assert!(is_wanted(Some("otlp")).unwrap());
        assert!(!is_wanted(Some("none")).unwrap());
        assert!(is_wanted(Some("console")).is_err());
    }
}
