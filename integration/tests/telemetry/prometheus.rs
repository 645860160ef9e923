//! Questions to Prometheus.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sextant_integration::run;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Its API on 127.0.0.1.
pub struct Prometheus {
    url: String,
}

impl Prometheus {
    pub fn at(port: u16) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}/api/v1"),
        }
    }

    /// The series that answer a query now.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.ask("query", Some(query))?;
        let result = data["result"].as_array().cloned();
        // A scalar comes as a pair, not as a list of series.
        ensure!(
            data["resultType"] == "vector",
            "{query} answers a {}",
            data["resultType"]
        );
        result.context("no result")
    }

    /// Names of the alerts that fire now, with the job that they are about.
    pub fn firing(&self) -> Result<Vec<(String, String)>> {
        let data = self.ask("alerts", None)?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let label = |alert: &Value, name: &str| {
            let value = alert["labels"][name].as_str();
            value.unwrap_or_default().to_owned()
        };
        Ok(alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| (label(alert, "alertname"), label(alert, "job")))
            .collect())
    }

    fn ask(&self, what: &str, query: Option<&str>) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--get"])
            .arg(format!("{}/{what}", self.url));
        if let Some(query) = query {
            curl.arg("--data-urlencode").arg(format!("query={query}"));
        }
        let text = run(&mut curl, DEADLINE)?.ok()?;
        let answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("{what} {query:?} answers {text:?}"))?;
        ensure!(
            answer["status"] == "success",
            "{what} {query:?}: {}",
            answer["error"]
        );
        Ok(answer["data"].clone())
    }
}
