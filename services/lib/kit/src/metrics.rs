//! The process' metrics: one Prometheus registry, every name prefixed `sextant_`.

use crate::telemetry::rpc;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry that already holds what every part has: its RPC metrics.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sextant");
        rpc::register(&mut registry);
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Registers metrics; a name `rows_total` is served as `sextant_rows_total`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The OpenMetrics text of everything registered.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(
            &mut text,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
