//! What every case asks of a Kubernetes API, whichever cluster's it is.

use crate::{Outcome, run, run_with_input};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_secs(180);

/// A cluster that kubectl reaches.
pub trait Api {
    /// A kubectl command to be started by the caller.
    fn kubectl_command(&self) -> Command;

    /// kubectl's output.
    ///
    /// # Errors
    /// kubectl fails; holds its error output.
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_outcome(arguments)?
            .ok()
            .with_context(|| format!("kubectl {arguments:?}"))
    }

    /// kubectl's end, whatever it is.
    ///
    /// # Errors
    /// kubectl can't be started or hangs.
    fn kubectl_outcome(&self, arguments: &[&str]) -> Result<Outcome> {
        run(self.kubectl_command().args(arguments), SLOW)
    }

    /// `kubectl get … -o json`
    ///
    /// # Errors
    /// kubectl fails or its output isn't JSON.
    fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.kubectl(&all)?).context("reading kubectl's JSON")
    }

    /// `kubectl apply` of a manifest.
    ///
    /// # Errors
    /// kubectl fails.
    fn apply(&self, manifest: &str) -> Result<String> {
        run_with_input(
            self.kubectl_command().args(["apply", "-f", "-"]),
            manifest,
            QUICK,
        )?
        .ok()
        .with_context(|| format!("applying\n{manifest}"))
    }

    /// Creates an object and returns what the API answered.
    ///
    /// # Errors
    /// kubectl fails.
    fn create(&self, object: &Value) -> Result<Value> {
        let mut command = self.kubectl_command();
        command.args(["create", "-o", "json", "-f", "-"]);
        let text = run_with_input(&mut command, &object.to_string(), QUICK)?.ok()?;
        serde_json::from_str(&text).context("reading kubectl's JSON")
    }
}
