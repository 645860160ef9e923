//! What people do with a cluster all day.

use anyhow::{Result, ensure};
use sextant_integration::{Api, Cluster, eventually, run};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// The toolbox is baked into every node.
pub const IMAGE: &str = concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION"));

/// A web server whose answer is its own name.
pub fn web(name: &str, replicas: u32, node: Option<&str>) -> String {
    let selector = node.map_or(String::new(), |node| {
        format!("\n      nodeSelector: {{kubernetes.io/hostname: {node}}}")
    });
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:{selector}
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {IMAGE}
          command: [sh, -c, "mkdir /tmp/w && hostname > /tmp/w/index.html && echo started && exec httpd -f -p 8080 -h /tmp/w"]
          ports: [{{containerPort: 8080, name: http}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: http}}]
"#
    )
}

/// A pod that sleeps on one node and can be asked to try things.
pub fn client(name: &str, node: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "86400"]}}
"#
    )
}

/// Applies [`client`] and waits until it runs.
pub fn start_client(cluster: &Cluster, name: &str, node: &str) -> Result<()> {
    cluster.apply(&client(name, node))?;
    cluster
        .kubectl(&[
            "wait",
            "pod",
            name,
            "--for=condition=Ready",
            "--timeout=90s",
        ])
        .map(drop)
}

/// Applies [`web`] and waits until all replicas are ready.
pub fn start_web(cluster: &Cluster, name: &str, replicas: u32, node: Option<&str>) -> Result<()> {
    cluster.apply(&web(name, replicas, node))?;
    let deployment = format!("deployment/{name}");
    cluster
        .kubectl(&["rollout", "status", &deployment, "--timeout=90s"])
        .map(drop)
}

/// Fetches a page from inside a pod.
pub fn fetch(cluster: &Cluster, from: &str, url: &str) -> Result<String> {
    cluster.kubectl(&["exec", from, "--", "wget", "-q", "-T", "3", "-O", "-", url])
}

pub fn service_by_name(cluster: &Cluster) -> Result<()> {
    start_web(cluster, "web", 3, Some("node-1"))?;
    start_client(cluster, "client", "node-2")?;
    eventually("the Service answers by its name", SOON, || {
        fetch(cluster, "client", "http://web.default.svc.cluster.local/").map(drop)
    })?;
    let mut seen = std::collections::BTreeSet::new();
    eventually("all three replicas answer", SOON, || {
        seen.insert(fetch(cluster, "client", "http://web/")?.trim().to_owned());
        ensure!(seen.len() == 3, "answers so far: {seen:?}");
        Ok(())
    })
}

pub fn kubectl_verbs(cluster: &Cluster) -> Result<()> {
    let pod = first_pod(cluster, "app=web")?;
    let mut logs = cluster
        .kubectl_command()
        .args(["logs", "--follow", &pod])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = logs.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    ensure!(logs.try_wait()?.is_none(), "logs --follow ended by itself");
    logs.kill()?;
    logs.wait()?;
    ensure!(line.trim() == "started", "first log line: {line:?}");

    let said = cluster.kubectl(&["exec", &pod, "--", "cat", "/tmp/w/index.html"])?;
    ensure!(said.trim() == pod, "exec said {said:?}");

    let folder = std::env::temp_dir().join(format!("sextant-cp-{}", std::process::id()));
    let text: String = (0..200_000).map(|i| format!("{i}\n")).collect();
    std::fs::write(&folder, &text)?;
    cluster.kubectl(&[
        "cp",
        &folder.display().to_string(),
        &format!("{pod}:/tmp/copied"),
    ])?;
    let back = folder.with_extension("back");
    cluster.kubectl(&[
        "cp",
        &format!("{pod}:/tmp/copied"),
        &back.display().to_string(),
    ])?;
    let same = std::fs::read_to_string(&back)? == text;
    std::fs::remove_file(folder)?;
    std::fs::remove_file(back)?;
    ensure!(same, "a file came back from cp with another content");

    port_forward(cluster, &pod)?;
    cluster.kubectl(&["rollout", "restart", "deployment/web"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    ensure!(
        first_pod(cluster, "app=web")? != pod,
        "rollout restart changed no pod"
    );
    Ok(())
}

fn port_forward(cluster: &Cluster, pod: &str) -> Result<()> {
    let mut forward = cluster
        .kubectl_command()
        .args(["port-forward", pod, ":8080"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    // Kept open until the end: kubectl goes on writing.
    let mut stdout = forward.stdout.take().map(BufReader::new);
    if let Some(stdout) = &mut stdout {
        stdout.read_line(&mut line)?;
    }
    // Forwarding from 127.0.0.1:40123 -> 8080
    let address = line
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    let answer = run(
        std::process::Command::new("curl").args(["-sS", "-m", "5", &format!("http://{address}/")]),
        Duration::from_secs(10),
    );
    forward.kill()?;
    forward.wait()?;
    let answer = answer?.ok()?;
    ensure!(
        answer.trim() == pod,
        "port-forward ({line:?}) answered {answer:?}"
    );
    Ok(())
}

pub fn pod_reaches_api(cluster: &Cluster) -> Result<()> {
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = cluster.kubectl(&["exec", "client", "--", "cat", &format!("{folder}/token")])?;
    let review = cluster.create(&serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token.trim()},
    }))?;
    let user = &review["status"]["user"]["username"];
    ensure!(
        user == "system:serviceaccount:default:default",
        "TokenReview: {}",
        review["status"]
    );
    // The Service kubernetes.default leads to node.apiAddress, where the node's balancer listens.
    ensure!(
        connects(cluster, "client", "kubernetes.default.svc", "443")?,
        "the API can't be reached"
    );
    Ok(())
}

/// Whether a TCP connection from a pod comes about.
pub fn connects(cluster: &Cluster, from: &str, host: &str, port: &str) -> Result<bool> {
    let script = format!("nc -w 1 {host} {port} < /dev/null > /dev/null");
    Ok(cluster
        .kubectl_outcome(&["exec", from, "--", "sh", "-c", &script])?
        .code
        == 0)
}

/// The name of the first running pod that a selector finds.
pub fn first_pod(cluster: &Cluster, selector: &str) -> Result<String> {
    let pods = cluster.get(&[
        "pods",
        "-l",
        selector,
        "--field-selector=status.phase=Running",
    ])?;
    let name = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .find_map(|pod| pod["metadata"]["name"].as_str());
    name.map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("no running pod has {selector}"))
}
