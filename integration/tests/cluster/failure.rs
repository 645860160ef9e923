//! Parts are killed, stopped and made anew.

use crate::nodes::healthy;
use crate::workloads::{fetch, first_pod};
use anyhow::{Result, ensure};
use sextant_integration::{Api, Cluster, docker, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);

pub const PARTS: &[&str] = &[
    "cert-authority",
    "token-service",
    "datastore-proxy",
    "supervisor",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "edge",
];

pub fn kill_each(cluster: &Cluster) -> Result<()> {
    for part in PARTS {
        let acknowledged = format!("before-{part}");
        cluster.kubectl(&["create", "configmap", &acknowledged])?;
        for container in cluster.containers(part)? {
            // By its process, as the kernel would: after `docker kill` the restart policy doesn't apply.
            kill(&cluster.inspect(&container)?["State"]["Pid"].to_string())?;
        }
        eventually(&format!("{part} healthy again"), SOON, || {
            ensure!(healthy(cluster, part)? >= 1, "not healthy yet");
            Ok(())
        })?;
        eventually(
            &format!("writes work after {part} was killed"),
            SOON,
            || {
                cluster.kubectl(&[
                    "create",
                    "configmap",
                    &format!("after-{part}"),
                    "--dry-run=server",
                ])?;
                cluster.kubectl(&["get", "configmap", &acknowledged])
            },
        )?;
    }
    eventually("pods answer", SOON, || {
        fetch(cluster, "client", "http://web/")
    })?;
    eventually("new pods start", SOON, || {
        cluster.kubectl(&["rollout", "restart", "deployment/web"])?;
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])
    })?;
    Ok(())
}

pub fn agent_dies(cluster: &Cluster) -> Result<()> {
    let pod = first_pod(cluster, "app=friend")?;
    let before =
        cluster.get(&["pod", &pod])?["status"]["containerStatuses"][0]["containerID"].clone();
    let node = &cluster.containers("node-1")?[0];
    let agent = agent_process(node)?;
    kill(&agent)?;
    eventually("another agent runs", SOON, || {
        ensure!(agent_process(node)? != agent, "still the same process");
        Ok(())
    })?;
    eventually("exec works through the new agent", SOON, || {
        cluster.kubectl(&["exec", &pod, "--", "true"])
    })?;
    let after =
        cluster.get(&["pod", &pod])?["status"]["containerStatuses"][0]["containerID"].clone();
    ensure!(
        before == after,
        "the pod's container was replaced: {before} → {after}"
    );
    Ok(())
}

fn kill(pid: &str) -> Result<()> {
    let mut kill = std::process::Command::new("kill");
    sextant_integration::run(kill.args(["-KILL", pid]), Duration::from_secs(5))?
        .ok()
        .map(drop)
}

/// The process id of `node-agent serve` as this machine sees it.
fn agent_process(container: &str) -> Result<String> {
    let table = docker(&["top", container, "-eo", "pid,args"])?;
    let line = table.lines().find(|line| line.contains("node-agent serve"));
    let pid = line.and_then(|line| line.split_whitespace().next());
    pid.map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("no agent among\n{table}"))
}

pub fn stop_start(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "kept-over-stop"])?;
    cluster.compose(&["stop", "--timeout", "30"])?;
    cluster.compose(&["start"])?;
    came_back(cluster, "kept-over-stop")
}

pub fn down_up(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "kept-over-down"])?;
    cluster.down(&["--timeout", "30"])?;
    cluster.compose(&["up", "--detach"])?;
    came_back(cluster, "kept-over-down")
}

/// The same cluster: its objects, its nodes, its pods, and their network.
pub fn came_back(cluster: &Cluster, object: &str) -> Result<()> {
    cluster.wait_ready(2)?;
    cluster.kubectl(&["get", "configmap", object])?;
    eventually(
        "a pod answers by its Service's name",
        Duration::from_secs(180),
        || fetch(cluster, "client", "http://web/"),
    )?;
    eventually("logs work", SOON, || {
        let pod = first_pod(cluster, "app=web")?;
        cluster.kubectl(&["logs", &pod])
    })?;
    Ok(())
}
