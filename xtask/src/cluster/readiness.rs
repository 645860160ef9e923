//! Waiting for a cluster, with a word now and then about what it waits for.

use super::{Cluster, health};
use crate::run;
use anyhow::{Result, bail};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a cluster may take to become ready before `up` gives up.
const READY_WITHIN: Duration = Duration::from_secs(300);

impl Cluster {
    /// Waits until the supervisor answers and kube-apiserver says that it is ready.
    pub fn wait_for_api(&self) -> Result<()> {
        self.wait("the API", || {
            run::output(&mut self.project.write_kubeconfig())?;
            match run::output(self.kubectl().args(["get", "--raw", "/readyz"])) {
                Ok(_) => Ok(()),
                Err(error) => Err(unready(&error.to_string()).unwrap_or(error)),
            }
        })
    }

    /// Waits until every node and the DNS are ready; returns the table of nodes.
    pub fn wait_for_nodes(&self) -> Result<String> {
        for node in ["node-1", "node-2"] {
            self.wait_for_lease(node)?;
        }
        self.wait_for_ready_nodes(2)?;
        self.wait_for_dns()?;
        run::output(self.kubectl().args(["get", "nodes", "--output", "wide"]))
    }

    /// Waits until a node has said that it lives since its container was started. After `down` and `up`, the datastore
    /// still holds what it said before.
    fn wait_for_lease(&self, node: &str) -> Result<()> {
        let container = run::output(self.project.compose().args(["ps", "--quiet", node]))?;
        let format = ["inspect", "--format", "{{.State.StartedAt}}"];
        let started = run::output(Command::new("docker").args(format).arg(&container))?;
        self.wait(node, || {
            let lease = ["lease", node, "--namespace", "kube-node-lease"];
            let Some(lease) = self.find(&lease)? else {
                bail!("{node} hasn't joined yet");
            };
            // Both in UTC with the same layout down to seconds.
            match lease["spec"]["renewTime"].as_str() {
                Some(renewed) if renewed.get(..19) >= started.get(..19) => Ok(()),
                _ => bail!("{node} hasn't renewed its lease since its container was started"),
            }
        })
    }

    /// Waits until `wanted` nodes are Ready.
    pub fn wait_for_ready_nodes(&self, wanted: usize) -> Result<()> {
        self.wait("nodes", || {
            let nodes = self.json(&["get", "nodes"])?;
            let ready = items(&nodes)
                .filter(|node| condition(node, "Ready"))
                .count();
            if ready < wanted {
                bail!("{ready} of {wanted} nodes are Ready")
            } else {
                Ok(())
            }
        })
    }

    /// Waits until CoreDNS has a ready replica.
    pub fn wait_for_dns(&self) -> Result<()> {
        self.wait("DNS", || {
            let dns = ["deployment", "coredns", "--namespace", "kube-system"];
            let Some(dns) = self.find(&dns)? else {
                bail!("the supervisor hasn't installed CoreDNS yet");
            };
            match dns["status"]["readyReplicas"].as_u64() {
                Some(1..) => Ok(()),
                _ => bail!("CoreDNS has no ready replica yet"),
            }
        })
    }

    /// Repeats `check` until it succeeds. On time-out, or when a container restarts again and again, the error holds
    /// the last answer and the log of what isn't healthy.
    pub fn wait(&self, what: &str, check: impl Fn() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        let mut said = Instant::now();
        let restarts = health::Restarts::now(self)?;
        loop {
            let Err(error) = check() else { return Ok(()) };
            if started.elapsed() > READY_WITHIN {
                bail!("waiting for {what}: {error:#}\n{}", health::report(self));
            }
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                let elapsed = started.elapsed().as_secs();
                eprintln!("      {elapsed} s, waiting for {what}: {}", reason(&error));
                if let Some(service) = restarts.again_and_again(self)? {
                    bail!(
                        "container {service} ends as soon as it starts:\n{}",
                        health::last_lines(self, &service)
                    );
                }
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// What a program said, in one line and without the program's call.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let said = text
        .split_once("exit status: ")
        .and_then(|(_, rest)| rest.split_once(": "));
    let said = said.map_or(text.as_str(), |(_, said)| {
        said.trim_start_matches("error: ")
    });
    said.lines()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(200)
        .collect()
}

/// The checks that kube-apiserver's /readyz calls failed, out of kubectl's words.
fn unready(text: &str) -> Option<anyhow::Error> {
    let failed: Vec<&str> = text
        .split("[-]")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    (!failed.is_empty())
        .then(|| anyhow::anyhow!("kube-apiserver isn't ready: {}", failed.join(", ")))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn condition(object: &Value, name: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == name && c["status"] == "True")
}
