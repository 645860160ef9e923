//! The CLI's view, and the tunnel with more than one supervisor.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use sextant_integration::{Cluster, eventually};
use std::time::Duration;

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
    cluster.compose(&[
        "up",
        "--detach",
        "--no-recreate",
        "--scale",
        "supervisor=2",
        "--scale",
        "token-service=3",
    ])?;
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
    cluster.compose(&[
        "up",
        "--detach",
        "--no-recreate",
        "--scale",
        "supervisor=1",
        "--scale",
        "token-service=1",
    ])?;
    eventually(
        "exec works with one supervisor again",
        Duration::from_secs(60),
        || cluster.kubectl(&["exec", "client", "--", "true"]),
    )?;
    Ok(())
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
