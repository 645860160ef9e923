//! The process' metrics: one Prometheus registry, every name prefixed `sextant_`.

mod neighbour;
mod process;
mod state;

pub use neighbour::Exposition;

use crate::readiness::Readiness;
use crate::telemetry;
use neighbour::Ask;
use process::Process;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use state::State;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    neighbours: Arc<Mutex<BTreeMap<&'static str, Ask>>>,
}

impl Metrics {
    /// A registry that already holds what every part has: its RPC metrics.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sextant");
        telemetry::register(&mut registry);
        Self {
            registry: Arc::new(Mutex::new(registry)),
            neighbours: Arc::default(),
        }
    }

    /// Adds what `service` says of itself: version, readiness, memory and processor time. Once per process.
    pub fn describe(&self, service: &str, readiness: &Readiness) {
        self.register(|registry| {
            let build = Info::new([
                ("service", service.to_owned()),
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ]);
            registry.register("build", "What runs here", build);
            registry.register_collector(Box::new(State::new(readiness.clone())));
            registry.register_collector(Box::new(Process::new()));
        });
    }

    /// Registers metrics; a name `rows_total` is served as `sextant_rows_total`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry())
    }

    /// Serves what `fetch` gets of another process under `/metrics/<name>`, for as long as this one runs.
    pub fn pass_on<F, Fut>(&self, name: &'static str, fetch: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Exposition, String>> + Send + 'static,
    {
        let neighbours = self.neighbours.lock();
        let mut neighbours = neighbours.unwrap_or_else(PoisonError::into_inner);
        neighbours.insert(name, neighbour::ask(fetch));
    }

    pub(crate) fn neighbour(&self, name: &str) -> Option<Ask> {
        let neighbours = self.neighbours.lock();
        let neighbours = neighbours.unwrap_or_else(PoisonError::into_inner);
        neighbours.get(name).cloned()
    }

    /// The OpenMetrics text of everything registered.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    /// Everything registered, as Prometheus' messages.
    pub(crate) fn families(&self) -> Result<Vec<MetricFamily>, fmt::Error> {
        prometheus_protobuf::encode(&self.registry())
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
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
