//! NetworkPolicy on the running cluster.

use crate::workloads::{fetch, start_client, start_web};
use anyhow::{Result, ensure};
use sextant_integration::{Api, Cluster, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

const DENY: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guarded}
spec:
  podSelector: {matchLabels: {app: guarded}}
  policyTypes: [Ingress]
";

const ALLOW: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guarded-allow}
spec:
  podSelector: {matchLabels: {app: guarded}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: friend}}}]
      ports: [{port: http}]
";

pub fn deny_and_allow(cluster: &Cluster) -> Result<()> {
    start_web(cluster, "guarded", 2, None)?;
    for (name, node) in [("friend", "node-1"), ("stranger", "node-2")] {
        start_client(cluster, name, node)?;
        eventually("open without a policy", SOON, || {
            fetch(cluster, name, "http://guarded/")
        })?;
    }
    cluster.apply(DENY)?;
    for name in ["friend", "stranger"] {
        closed(cluster, name)?;
    }
    cluster.apply(ALLOW)?;
    eventually("the friend is let in", SOON, || {
        fetch(cluster, "friend", "http://guarded/")
    })?;
    closed(cluster, "stranger")?;
    // Probes of the kubelet come from the node: the pods must still be ready.
    let ready = cluster.get(&["deployment", "guarded"])?["status"]["readyReplicas"].clone();
    ensure!(ready == 2, "ready replicas under policy: {ready}");
    Ok(())
}

/// Pods are routed, not bridged: their traffic passes the forward hook whatever this switch says.
pub fn without_bridge_netfilter(cluster: &Cluster) -> Result<()> {
    for node in ["node-1", "node-2"] {
        let pid = cluster.pid(node)?;
        let switch = "test -e /proc/sys/net/bridge/bridge-nf-call-iptables || exit 3; \
                      echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables";
        let mut command = std::process::Command::new("nsenter");
        command.args(["-t", &pid, "-n", "sh", "-c", switch]);
        let code = sextant_integration::run(&mut command, SOON)?.code;
        if code == 3 {
            eprintln!("SKIP policy without bridge netfilter: this kernel has no such switch");
            return Ok(());
        }
        ensure!(code == 0, "the switch of {node} can't be set");
    }
    closed(cluster, "stranger")?;
    eventually("the friend is let in", SOON, || {
        fetch(cluster, "friend", "http://guarded/")
    })
    .map(drop)
}

fn closed(cluster: &Cluster, from: &str) -> Result<()> {
    eventually(&format!("{from} is kept out"), SOON, || {
        ensure!(
            fetch(cluster, from, "http://guarded/").is_err(),
            "{from} still reaches it"
        );
        Ok(())
    })
}

pub fn established_flow_is_cut(cluster: &Cluster) -> Result<()> {
    // One connection that sends a line each second, from before the policy until it is cut.
    cluster.kubectl(&["delete", "networkpolicy", "guarded-allow", "guarded"])?;
    eventually("open again", SOON, || {
        fetch(cluster, "stranger", "http://guarded/")
    })?;
    start_client(cluster, "listener", "node-1")?;
    let address = cluster.get(&["pod", "listener"])?["status"]["podIP"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    background(cluster, "listener", "nc -l -p 9000 > /tmp/got")?;
    background(
        cluster,
        "stranger",
        &format!(
            "(i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.2; done) | nc {address} 9000"
        ),
    )?;
    let received = || -> Result<usize> {
        let size = cluster.kubectl(&["exec", "listener", "--", "wc", "-c", "/tmp/got"])?;
        Ok(size.split_whitespace().next().unwrap_or("0").parse()?)
    };
    eventually("the flow runs", SOON, || {
        ensure!(received()? > 0, "nothing received yet");
        Ok(())
    })?;
    cluster.apply(&DENY.replace("guarded", "listener"))?;
    eventually("the flow is cut", SOON, || {
        let before = received()?;
        let until = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < until {
            ensure!(received()? == before, "still receiving");
        }
        Ok(())
    })?;
    cluster
        .kubectl(&["delete", "networkpolicy", "listener"])
        .map(drop)
}

fn background(cluster: &Cluster, pod: &str, script: &str) -> Result<()> {
    let detached = format!("({script}) </dev/null >/dev/null 2>&1 &");
    let detached = if script.contains("> /tmp/got") {
        format!("({script}) </dev/null 2>/dev/null &")
    } else {
        detached
    };
    cluster
        .kubectl(&["exec", pod, "--", "sh", "-c", &detached])
        .map(drop)
}
