//! Joining by hand, and being refused.

use anyhow::{Result, ensure};
use sextant_integration::{Api, Cluster, docker, eventually};
use std::time::Duration;

/// Starts a node container outside of compose, on the `nodes` network only, with a token given by file.
struct HandNode {
    name: String,
}

impl HandNode {
    fn start(cluster: &Cluster, node: &str, token: &str) -> Result<Self> {
        let name = format!("{}-{node}", cluster.project());
        let _ = docker(&["rm", "--force", "--volumes", &name]);
        let template = &cluster.containers("node-1")?[0];
        let host = cluster.inspect(template)?["HostConfig"].clone();
        let image = format!("sextant/node:{}", env!("CARGO_PKG_VERSION"));
        let network = format!("{}_nodes", cluster.project());
        let mut arguments: Vec<String> = [
            "create",
            "--name",
            &name,
            "--network",
            &network,
            "--cgroupns",
            "private",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--tmpfs",
            "/run:exec,mode=0755",
            "--tmpfs",
            "/tmp:mode=1777",
            "--tmpfs",
            "/var/lib/cni",
            "--tmpfs",
            "/etc/cni",
            "--device",
            "/dev/kmsg",
            "--volume",
            "/var/lib/sextant",
            "--volume",
            "/var/lib/containerd",
            "--volume",
            "/var/lib/kubelet",
            "--volume",
            "/var/log",
            "--volume",
            "/join",
            "--env",
            &format!("SEXTANT_NAME={node}"),
        ]
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
        for (key, flag) in [("CapAdd", "--cap-add"), ("SecurityOpt", "--security-opt")] {
            for value in host[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str())
            {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        arguments.extend(["--security-opt", "systempaths=unconfined", &image].map(str::to_owned));
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let file = std::env::temp_dir().join(format!("sextant-token-{}", std::process::id()));
        std::fs::write(&file, token)?;
        let copied = docker(&[
            "cp",
            &file.display().to_string(),
            &format!("{name}:/join/token"),
        ]);
        std::fs::remove_file(&file)?;
        copied?;
        docker(&["start", &name])?;
        Ok(Self { name })
    }

    fn logs(&self) -> Result<String> {
        let outcome = sextant_integration::run(
            std::process::Command::new("docker").args(["logs", &self.name]),
            Duration::from_secs(20),
        )?;
        Ok(outcome.stdout + &outcome.stderr)
    }
}

impl Drop for HandNode {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

fn create(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["token", "create"];
    all.extend(arguments);
    Ok(cluster.sextant(&all)?.ok()?.trim().to_owned())
}

pub fn bad_tokens(cluster: &Cluster) -> Result<()> {
    let good = create(cluster, &["--node", "elsewhere"])?;
    let revoked = create(cluster, &[])?;
    let id = revoked
        .split("::")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .unwrap_or_default();
    cluster.sextant(&["token", "revoke", id])?.ok()?;
    let (hash, rest) = good.split_once("::").unwrap_or_default();
    let other_hash = format!("K10{}", "0".repeat(hash.len() - 3));
    let cases = [
        (
            format!("{hash}::aaaaaaaaaa:{}", "b".repeat(32)),
            "token_unknown",
        ),
        (revoked, "token_revoked"),
        (good.clone(), "token_scope"),
        (format!("{other_hash}::{rest}"), "the token wants"),
    ];
    for (token, code) in cases {
        let node = HandNode::start(cluster, "intruder", &token)?;
        eventually(
            &format!("refusal with {code}"),
            Duration::from_secs(40),
            || {
                let logs = node.logs()?;
                let secret = token.rsplit(':').next().unwrap_or_default();
                ensure!(!logs.contains(secret), "the log shows the token's secret");
                ensure!(
                    logs.contains(code),
                    "{}",
                    logs.lines().rev().take(5).collect::<Vec<_>>().join("\n")
                );
                Ok(())
            },
        )?;
    }
    ensure!(
        !cluster.kubectl(&["get", "nodes"])?.contains("intruder"),
        "an intruder became a node"
    );
    Ok(())
}

pub fn third_node(cluster: &Cluster) -> Result<()> {
    let token = create(cluster, &["--node", "by-hand", "--uses", "1"])?;
    let node = HandNode::start(cluster, "by-hand", &token)?;
    cluster.wait_ready(3)?;
    crate::workloads::start_client(cluster, "far", "by-hand")?;
    eventually(
        "the new node reaches a Service",
        Duration::from_secs(60),
        || crate::workloads::fetch(cluster, "far", "http://web/"),
    )?;
    // A second node can't take the name with the used token.
    let list = cluster
        .sextant(&["token", "list", "--output", "json"])?
        .ok()?;
    ensure!(
        list.contains("\"uses\": 1") || list.contains("\"uses\":1"),
        "uses aren't counted: {list}"
    );
    drop(node);
    cluster.kubectl(&["delete", "pod", "far", "--force", "--grace-period=0"])?;
    cluster.kubectl(&["delete", "node", "by-hand"])?;
    cluster
        .sextant(&["node", "remove", "by-hand"])?
        .ok()
        .map(drop)
}
