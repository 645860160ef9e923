//! The shape of a service and what it is given to run with.

use crate::cli::{Command, Flag};
use crate::config::HasCommon;
use crate::drain::{Drain, DrainTrigger};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;

/// A long-running part of Sextant.
pub trait Service {
    /// Name of the binary, of its telemetry and of its documentation.
    const NAME: &'static str;

    /// Its typed configuration.
    type Config: DeserializeOwned + Serialize + JsonSchema + Default + HasCommon + Send + 'static;

    /// Runs until drained. An error ends the process with exit code 1. It isn't ready before it has called
    /// [`Readiness::started`], once it has added what its start waits for.
    fn run(
        config: Self::Config,
        ctx: Context,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;

    /// Subcommands beside `serve` and `healthcheck`.
    fn commands() -> Vec<Command> {
        Vec::new()
    }

    /// Settings that have a flag of their own, beside `--set`.
    fn flags() -> &'static [Flag] {
        &[]
    }
}

/// What every service is given: when to stop, where to say what it waits for, where to register metrics.
#[derive(Clone, Debug)]
pub struct Context {
    /// Resolves when the process should stop.
    pub drain: Drain,
    /// What the process waits for.
    pub readiness: Readiness,
    /// The process' metrics.
    pub metrics: Metrics,
}

impl Context {
    /// A context and the handle that drains it. Services get theirs from [`crate::main`]; this is for tests and
    /// for subcommands that serve something of their own.
    pub fn new() -> (Self, DrainTrigger) {
        let (drain, trigger) = Drain::new();
        (
            Self {
                drain,
                readiness: Readiness::default(),
                metrics: Metrics::new(),
            },
            trigger,
        )
    }
}
