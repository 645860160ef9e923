//! What the containers of a cluster are up to, for those who wait for it.

use super::Cluster;
use crate::run;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Every part waits for what it lacks and doesn't end because of it. One that was started this often has another
/// reason, which waiting doesn't mend.
const TOO_OFTEN: u64 = 8;

/// How often the engine had restarted each container at one moment.
pub struct Restarts(BTreeMap<String, u64>);

impl Restarts {
    /// The counts of this moment.
    pub fn now(cluster: &Cluster) -> Result<Self> {
        let ids = run::output(cluster.project.compose().args(["ps", "--all", "--quiet"]))?;
        if ids.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let format = r#"{{index .Config.Labels "com.docker.compose.service"}} {{.RestartCount}}"#;
        let lines = run::output(
            Command::new("docker")
                .args(["inspect", "--format", format])
                .args(ids.lines()),
        )?;
        let counts = lines.lines().map(|line| {
            let (service, count) = line.split_once(' ').context("no count")?;
            Ok((service.to_owned(), count.parse()?))
        });
        counts
            .collect::<Result<_>>()
            .context("reading docker's counts of restarts")
            .map(Self)
    }

    /// The service of a container that was restarted often since.
    pub fn again_and_again(&self, cluster: &Cluster) -> Result<Option<String>> {
        let now = Self::now(cluster)?.0;
        Ok(now.into_iter().find_map(|(service, count)| {
            let before = self.0.get(&service).copied().unwrap_or(0);
            (count >= before + TOO_OFTEN).then_some(service)
        }))
    }
}

/// The state of all containers, and the last lines of those that aren't healthy.
pub fn report(cluster: &Cluster) -> String {
    let list = cluster
        .project
        .compose()
        .args(["ps", "--all", "--format", "json"])
        .output();
    let Ok(list) = list else {
        return "docker compose ps doesn't answer".to_owned();
    };
    let mut text = String::new();
    for container in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let service = container["Service"].as_str().unwrap_or("?");
        let status = container["Status"].as_str().unwrap_or("?");
        text.push_str(&format!("  {service:<26} {status}\n"));
        if container["Health"] != "healthy" {
            text.push_str(&last_lines(cluster, service));
        }
    }
    text.push_str(&format!(
        "`docker compose -p {} logs SERVICE` tells more; docs/troubleshooting.md lists known causes\n",
        cluster.project.name
    ));
    text
}

/// The end of a service's log.
pub fn last_lines(cluster: &Cluster, service: &str) -> String {
    let arguments = ["logs", "--no-log-prefix", "--tail", "8", service];
    let logs = run::output(cluster.project.compose().args(arguments)).unwrap_or_default();
    logs.lines()
        .map(|line| {
            format!(
                "      {}\n",
                plain(line).chars().take(200).collect::<String>()
            )
        })
        .collect()
}

/// A line of our JSON logs as level, message and reason; any other line as it is.
fn plain(line: &str) -> String {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let fields = ["level", "message", "task", "reason", "error"].map(|name| entry[name].as_str());
    fields.into_iter().flatten().collect::<Vec<_>>().join("  ")
}
