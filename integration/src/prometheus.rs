//! Questions to a Prometheus, and one of the tests' own.

use crate::alerts::hasty;
use crate::{eventually, root, run};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// A Prometheus's API on 127.0.0.1.
pub struct Prometheus {
    port: u16,
}

/// An alert that fires: its labels, of which `alertname` is one.
pub type Firing = BTreeMap<String, String>;

impl Prometheus {
    /// On this port.
    #[must_use]
    pub fn at(port: u16) -> Self {
        Self { port }
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The series that answer a query now.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't understand the query.
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

    /// The alerts that fire now.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn firing(&self) -> Result<Vec<Firing>> {
        let data = self.ask("alerts", None)?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let labels = firing.map(|alert| serde_json::from_value(alert["labels"].clone()));
        Ok(labels.collect::<Result<_, _>>()?)
    }

    /// Whether an alert with these labels fires now.
    ///
    /// # Errors
    /// The alerts that fire, where it is otherwise than `wanted`.
    pub fn fires(&self, alert: &str, labels: &[(&str, &str)], wanted: bool) -> Result<()> {
        let firing = self.firing()?;
        let is = |found: &Firing, name: &str, value: &str| {
            found.get(name).is_some_and(|found| found == value)
        };
        let found = firing.iter().any(|one| {
            is(one, "alertname", alert) && labels.iter().all(|(name, value)| is(one, name, value))
        });
        ensure!(found == wanted, "{firing:?} fire");
        Ok(())
    }

    /// The rules that it has loaded, with what was wrong at their last evaluation, if anything was.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn rules(&self) -> Result<BTreeMap<String, Option<String>>> {
        let data = self.ask("rules", None)?;
        let groups = data["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(rules
            .map(|rule| {
                let wrong = (rule["health"] != "ok")
                    .then(|| format!("{}: {}", rule["health"], text(&rule["lastError"])));
                (text(&rule["name"]), wrong)
            })
            .collect())
    }

    fn ask(&self, what: &str, query: Option<&str>) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--get"])
            .arg(format!("{}/api/v1/{what}", self.url()));
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

/// What a [`Hasty`] one reads.
#[derive(Clone, Debug)]
pub struct Target {
    /// The label `job`.
    pub job: &'static str,
    /// `ip:port`
    pub address: String,
    /// Mostly `/metrics`.
    pub path: String,
    /// The label `node`, of what is on one.
    pub node: Option<&'static str>,
    /// From one reading to the next.
    pub seconds: u32,
}

impl Target {
    /// An admin port.
    #[must_use]
    pub fn admin(job: &'static str, address: impl ToString) -> Self {
        Self {
            job,
            address: address.to_string(),
            path: "/metrics".to_owned(),
            node: None,
            seconds: 1,
        }
    }
}

/// A real Prometheus on loopback that evaluates the real rules, whose durations are divided by [`hasty::HASTE`]; killed
/// when dropped.
pub struct Hasty {
    /// Its API.
    pub prometheus: Prometheus,
    child: Child,
    folder: tempfile::TempDir,
}

impl Hasty {
    /// Debian's program, where `make test` says that it is.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let program = std::env::var_os("TEST_PROMETHEUS").map(PathBuf::from);
        if program.is_none() {
            println!("SKIP TEST_PROMETHEUS isn't set: where is Prometheus?");
        }
        program
    }

    /// Starts it, and waits until every target has answered.
    ///
    /// # Errors
    /// It doesn't start, or a target doesn't answer in time.
    pub fn start(program: &Path, port: u16, targets: &[Target]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rules = std::fs::read_to_string(root().join(crate::alerts::RULES))?;
        std::fs::write(folder.path().join("rules.yaml"), hasty::rules(&rules)?)?;
        let configuration = folder.path().join("prometheus.yaml");
        std::fs::write(&configuration, configured(targets).to_string())?;
        // It doesn't outlive a test program that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // What isn't read any more is forgotten as soon, in proportion.
            .arg(format!("--query.lookback-delta={}s", 300 / hasty::HASTE))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let hasty = Self {
            prometheus: Prometheus::at(port),
            child,
            folder,
        };
        eventually("every target is read", DEADLINE, || {
            let up = hasty.prometheus.query("up == 1")?;
            let (up, all) = (up.len(), targets.len());
            ensure!(up == all, "{up} of {all}");
            Ok(())
        })?;
        Ok(hasty)
    }

    /// A folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Hasty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// JSON is YAML, too.
fn configured(targets: &[Target]) -> Value {
    let jobs = targets.iter().enumerate().map(|(number, target)| {
        let labels: BTreeMap<_, _> = [("job", Some(target.job)), ("node", target.node)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        json!({
            "job_name": number.to_string(),
            "metrics_path": target.path,
            "scrape_interval": format!("{}s", target.seconds),
            "static_configs": [{"targets": [target.address], "labels": labels}],
            // kube-apiserver alone has tens of thousands of series.
            "metric_relabel_configs": [{
                "source_labels": ["__name__"],
                "action": "keep",
                "regex": "sextant_.+|apiserver_request_total",
            }],
        })
    });
    json!({
        // Ten seconds divided by as much would be too short for an answer of a busy machine.
        "global": {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "evaluation_interval": "500ms",
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs.collect::<Vec<_>>(),
    })
}
