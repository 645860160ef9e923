//! Logs, traces and metrics of the process: JSON lines on standard output always, OTLP when an endpoint is set.

mod export;
mod log;
pub mod propagation;
pub mod rpc;

use crate::config::{Common, LogFormat};
use crate::error::Error;
use export::{Exporters, LogLayer};
use opentelemetry::trace::TracerProvider as _;
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Keeps the exporters until they are shut down.
#[derive(Debug)]
pub struct Telemetry {
    exporters: Option<Exporters>,
}

impl Telemetry {
    /// Sends what is still buffered, for at most a few seconds.
    pub async fn shutdown(self) {
        if let Some(exporters) = self.exporters {
            // The exporters block; a panic in them is no reason to fail now.
            let _ = tokio::task::spawn_blocking(|| exporters.shutdown()).await;
        }
    }
}

/// Sets up logging, and export when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Once per process, within a runtime.
pub fn init(name: &'static str, common: &Common) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(&common.log)
        .map_err(|e| Error::Telemetry(format!("the log filter `{}`: {e}", common.log)))?;
    let endpoint = std::env::var_os(ENDPOINT).filter(|endpoint| !endpoint.is_empty());
    let exporters = endpoint.map(|_| Exporters::new(name)).transpose()?;
    let traces = exporters.as_ref().map(|exporters| {
        let tracer = exporters.traces.tracer("sextant");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(not_of_the_exporter())
    });
    let logs = exporters
        .as_ref()
        .map(|exporters| LogLayer::new(&exporters.logs).with_filter(not_of_the_exporter()));
    let (json, text) = match common.log_format {
        LogFormat::Json => (
            Some(fmt::layer().event_format(log::Json { service: name })),
            None,
        ),
        LogFormat::Text => (None, Some(fmt::layer())),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(traces)
        .with(logs)
        .with(json)
        .with(text)
        .try_init()
        .map_err(|e| Error::Telemetry(e.to_string()))?;
    Ok(Telemetry { exporters })
}

/// What the exporters themselves say must not be exported: it would never end.
fn not_of_the_exporter() -> FilterFn {
    filter_fn(|metadata| {
        let own = [
            "h2",
            "hyper",
            "hyper_util",
            "opentelemetry",
            "tonic",
            "tower",
        ];
        let root = metadata.target().split("::").next().unwrap_or_default();
        !own.iter().any(|name| {
            root.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        })
    })
}
