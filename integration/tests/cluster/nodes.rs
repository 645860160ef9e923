//! The CLI's view, and the tunnel with more than one supervisor.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use sextant_integration::{Api, Cluster, docker, eventually};
use std::time::{Duration, Instant};

/// Where replicas are upstream's own affair, or its balancer's.
const UPSTREAM: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

pub fn cli(cluster: &Cluster) -> Result<()> {
    let status = eventually("all parts ready", Duration::from_secs(60), || {
        cluster.sextant(&["status", "--output", "json"])?.ok()
    })?;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(
        status.to_string().contains("datastore-proxy"),
        "status: {status}"
    );
    let nodes = cluster.sextant(&["node", "list"])?.ok()?;
    for node in ["node-1", "node-2"] {
        ensure!(nodes.contains(node), "node list lacks {node}:\n{nodes}");
    }
    let check = cluster.sextant(&["certificate", "check"])?;
    ensure!(
        check.stdout.contains("system:node:node-1"),
        "certificate check:\n{}",
        check.stdout
    );
    for shell in ["bash", "zsh", "fish"] {
        ensure!(
            cluster.sextant(&["completion", shell])?.ok()?.len() > 500,
            "no completion for {shell}"
        );
    }
    cluster.sextant(&["version"])?.ok().map(drop)
}

pub fn relay(cluster: &Cluster) -> Result<()> {
    scale(cluster, &[("supervisor", 2), ("token-service", 3)])?;
    eventually("both supervisors ready", Duration::from_secs(60), || {
        let healthy = healthy(cluster, "supervisor")?;
        ensure!(healthy == 2, "{healthy} of 2 are healthy");
        Ok(())
    })?;
    // Whichever supervisor kube-apiserver's runner asks and whichever holds the session, exec must work.
    for pod in ["client", "friend"] {
        for _ in 0..5 {
            let said = cluster.kubectl(&["exec", pod, "--", "echo", "through"])?;
            ensure!(said.trim() == "through", "exec said {said:?}");
        }
    }
    scale(cluster, &[("supervisor", 1), ("token-service", 1)])?;
    eventually(
        "exec works with one supervisor again",
        Duration::from_secs(60),
        || cluster.kubectl(&["exec", "client", "--", "true"]),
    )?;
    Ok(())
}

/// Two API servers: once one is dead, every request is answered, although the balancer may try its address first.
pub fn upstream_replicas(cluster: &Cluster) -> Result<()> {
    let replicas = |count: usize| -> Result<()> {
        scale(cluster, &UPSTREAM.map(|component| (component, count)))?;
        eventually("all replicas are healthy", Duration::from_secs(90), || {
            for component in UPSTREAM {
                let healthy = healthy(cluster, component)?;
                ensure!(
                    healthy == count,
                    "{component}: {healthy} of {count} are healthy"
                );
            }
            Ok(())
        })
    };
    replicas(2)?;
    let first = cluster.containers("kube-apiserver")?.swap_remove(0);
    docker(&["kill", &first])?;
    docker(&["wait", &first])?;
    let killed = Instant::now();
    // Longer than the balancer avoids an address after its first failures.
    while killed.elapsed() < Duration::from_secs(5) {
        cluster.kubectl(&["get", "nodes", "--request-timeout", "15s"])?;
    }
    docker(&["start", &first])?;
    replicas(2)?;
    replicas(1)
}

/// Regression: a node that was removed while it ran went on with its old certificate and never looked at the token
/// that the supervisor had put into its volume.
pub fn removed(cluster: &Cluster) -> Result<()> {
    let joined = || -> Result<Option<String>> {
        let list = cluster
            .sextant(&["node", "list", "--output", "json"])?
            .ok()?;
        let list: Value = serde_json::from_str(&list)?;
        let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes
            .iter()
            .find(|node| node["name"] == "node-2" && node["ready"] == true);
        Ok(node.and_then(|node| node["joined"].as_str().map(str::to_owned)))
    };
    let before = joined()?;
    ensure!(before.is_some(), "node-2 isn't ready at the beginning");
    cluster.sextant(&["node", "remove", "node-2"])?.ok()?;
    eventually("node-2 joined anew", Duration::from_secs(90), || {
        let now = joined()?;
        ensure!(
            now.is_some() && now > before,
            "joined: {now:?}, before {before:?}"
        );
        Ok(())
    })?;
    cluster.wait_ready(2)
}

/// Sets how many containers each of these services has; the others stay as they are.
fn scale(cluster: &Cluster, counts: &[(&str, usize)]) -> Result<()> {
    let scales = counts
        .iter()
        .map(|(service, count)| format!("--scale={service}={count}"));
    let scales: Vec<String> = scales.collect();
    let mut arguments = vec!["up", "--detach", "--no-recreate"];
    arguments.extend(scales.iter().map(String::as_str));
    cluster.compose(&arguments).map(drop)
}

/// How many containers of a service Docker calls healthy.
pub fn healthy(cluster: &Cluster, service: &str) -> Result<usize> {
    let mut count = 0;
    for container in cluster.containers(service)? {
        match cluster.inspect(&container)?["State"]["Health"]["Status"].as_str() {
            Some("healthy") => count += 1,
            Some(_) => {}
            None => bail!("{service} has no health check"),
        }
    }
    Ok(count)
}
