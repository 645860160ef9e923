//! What must not be possible.

use crate::failure::PARTS;
use crate::workloads::{IMAGE, connects};
use anyhow::{Result, ensure};
use serde_json::Value;
use sextant_integration::{Api, Cluster, docker, run};
use std::process::Command;
use std::time::Duration;

const NODES: &[&str] = &["node-1", "node-2"];

pub fn anonymous_refused(cluster: &Cluster) -> Result<()> {
    for path in ["/version", "/api", "/healthz", "/openid/v1/jwks"] {
        let code = http_code(&format!("{}{path}", cluster.api_url()))?;
        ensure!(code == "401", "{path} without a credential answered {code}");
    }
    let code = http_code(&format!("{}/v1/join", cluster.join_url()))?;
    ensure!(
        code.starts_with('4'),
        "joining without a token answered {code}"
    );
    Ok(())
}

fn http_code(url: &str) -> Result<String> {
    run(
        Command::new("curl").args([
            "-sk",
            "-m",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            url,
        ]),
        Duration::from_secs(10),
    )
    .map(|outcome| outcome.stdout)
}

pub fn secrets_encrypted(cluster: &Cluster) -> Result<()> {
    let marker = "marker-of-a-secret-value-0815";
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "marked",
        &format!("--from-literal=k={marker}"),
    ])?;
    cluster.kubectl(&[
        "create",
        "configmap",
        "marked",
        "--from-literal=k=marker-of-a-plain-value-0815",
    ])?;
    let container = &cluster.containers("datastore-proxy")?[0];
    let copy = std::env::temp_dir().join(format!("sextant-state-{}", std::process::id()));
    docker(&[
        "cp",
        &format!("{container}:/var/lib/sextant"),
        &copy.display().to_string(),
    ])?;
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(&copy)? {
        bytes.extend(std::fs::read(file?.path())?);
    }
    std::fs::remove_dir_all(&copy)?;
    ensure!(
        contains(&bytes, b"marker-of-a-plain-value-0815"),
        "the copy doesn't hold the state"
    );
    ensure!(
        !contains(&bytes, marker.as_bytes()),
        "the Secret is there in plain text"
    );
    ensure!(
        contains(&bytes, b"k8s:enc:kms:v2:"),
        "no value is encrypted by KMS v2"
    );
    Ok(())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

pub fn pod_security(cluster: &Cluster) -> Result<()> {
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: mighty}}, spec: {{containers: [{{name: c, \
         image: '{IMAGE}', securityContext: {{privileged: true}}}}]}}}}"
    );
    let refused = cluster.apply(&pod);
    let error = refused
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        error.contains("violates PodSecurity"),
        "a privileged pod was let in: {error}"
    );
    Ok(())
}

pub fn no_signing_keys(cluster: &Cluster) -> Result<()> {
    for part in ["kube-apiserver", "kube-controller-manager"] {
        let container = &cluster.containers(part)?[0];
        let table = docker(&["top", container, "-eo", "pid,args"])?;
        for flag in [
            "--service-account-key-file",
            "--service-account-signing-key-file",
            "--service-account-private-key-file",
            "--cluster-signing-key-file",
        ] {
            ensure!(!table.contains(flag), "{part} runs with {flag}");
        }
    }
    let token = cluster.kubectl(&["create", "token", "default"])?;
    let keys: Value =
        serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/openid/v1/jwks"])?)?;
    ensure!(keys["keys"][0]["alg"] == "ES256", "public keys: {keys}");
    ensure!(token.split('.').count() == 3, "no token came out");
    Ok(())
}

pub fn container_rights(cluster: &Cluster) -> Result<()> {
    for service in PARTS.iter().chain(NODES) {
        for container in cluster.containers(service)? {
            let all = cluster.inspect(&container)?;
            let (host, config) = (&all["HostConfig"], &all["Config"]);
            ensure!(host["Privileged"] == false, "{service} is privileged");
            ensure!(
                host["ReadonlyRootfs"] == true,
                "{service} can write its root"
            );
            ensure!(
                !all["Mounts"].to_string().contains("docker.sock"),
                "{service} has Docker's socket"
            );
            if NODES.contains(service) {
                continue;
            }
            ensure!(
                config["User"] == "65532:65532",
                "{service} runs as {}",
                config["User"]
            );
            ensure!(
                host["CapDrop"][0] == "ALL" && host["CapAdd"].is_null(),
                "{service} keeps capabilities"
            );
            ensure!(
                host["NetworkMode"].as_str().is_some_and(|m| m != "host"),
                "{service} is on the host's network"
            );
            if *service != "edge" {
                ensure!(
                    host["PortBindings"]
                        .as_object()
                        .is_none_or(|p| p.is_empty()),
                    "{service} publishes ports"
                );
            }
        }
    }
    Ok(())
}

pub fn no_secrets_in_view(cluster: &Cluster) -> Result<()> {
    for service in PARTS.iter().chain(NODES) {
        for container in cluster.containers(service)? {
            let environment = cluster.inspect(&container)?["Config"]["Env"].to_string();
            let arguments = docker(&["top", &container, "-eo", "pid,args"])?;
            let logs = run(
                Command::new("docker").args(["logs", &container]),
                Duration::from_secs(30),
            )?;
            for (place, text) in [("environment", &environment), ("arguments", &arguments)] {
                for word in ["K10", "PRIVATE KEY", "eyJ"] {
                    ensure!(
                        !text.contains(word),
                        "{service} shows {word:?} in its {place}"
                    );
                }
            }
            for text in [&logs.stdout, &logs.stderr] {
                ensure!(
                    !text.contains("PRIVATE KEY"),
                    "{service} logs a private key"
                );
                ensure!(!text.contains("eyJhbGciOi"), "{service} logs a token");
            }
        }
    }
    Ok(())
}

pub fn pods_are_kept_out(cluster: &Cluster) -> Result<()> {
    let network = format!("{}_control", cluster.project());
    for service in PARTS {
        let container = &cluster.containers(service)?[0];
        let all = cluster.inspect(container)?;
        let address = all["NetworkSettings"]["Networks"][&network]["IPAddress"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        ensure!(!address.is_empty(), "{service} has no address on {network}");
        for port in ["2379", "6443", "7443", "9090", "9443", "10257", "10259"] {
            let reached = connects(cluster, "client", &address, port)?;
            ensure!(!reached, "a pod reaches {service} at {address}:{port}");
        }
    }
    Ok(())
}

pub fn read_only_port(cluster: &Cluster) -> Result<()> {
    for node in NODES {
        let container = &cluster.containers(node)?[0];
        let network = format!("{}_nodes", cluster.project());
        let all = cluster.inspect(container)?;
        let address = all["NetworkSettings"]["Networks"][&network]["IPAddress"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        let code = run(
            Command::new("curl").args([
                "-s",
                "-m",
                "3",
                "-o",
                "/dev/null",
                &format!("http://{address}:10255/pods"),
            ]),
            Duration::from_secs(10),
        )?
        .code;
        ensure!(
            code == 7,
            "port 10255 of {node} isn't refused (curl ended with {code})"
        );
        let anonymous = http_code(&format!("https://{address}:10250/pods"))?;
        ensure!(
            anonymous == "401",
            "kubelet of {node} answered {anonymous} to nobody"
        );
    }
    Ok(())
}

/// What listens beyond loopback, by service. Docker's resolver and everything on 127.0.0.0/8 stay inside.
const LISTENING: &[(&str, &[&str])] = &[
    ("cert-authority", &["7443", "9090"]),
    ("token-service", &["7443", "9090"]),
    ("datastore-proxy", &["2379", "9090"]),
    ("supervisor", &["7443", "9090", "9443"]),
    ("kube-apiserver", &["6443", "7443", "9090"]),
    ("kube-controller-manager", &["10257", "7443", "9090"]),
    ("kube-scheduler", &["10259", "7443", "9090"]),
    ("edge", &["6443", "9443"]),
    ("node-1", &["10250", "53", "6443"]),
    ("node-2", &["10250", "53", "6443"]),
];

pub fn nothing_else_listens(cluster: &Cluster) -> Result<()> {
    for (service, expected) in LISTENING {
        let pid = cluster.pid(service)?;
        let table = run(
            Command::new("nsenter").args(["-t", &pid, "-n", "ss", "-Hltn"]),
            Duration::from_secs(10),
        )?
        .ok()?;
        let ports: std::collections::BTreeSet<&str> = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3))
            .filter_map(|address| address.rsplit_once(':'))
            .filter(|(host, _)| !host.starts_with("127."))
            .map(|(_, port)| port)
            .collect();
        let expected: std::collections::BTreeSet<&str> = expected.iter().copied().collect();
        ensure!(
            ports == expected,
            "{service} listens on {ports:?}, expected {expected:?}"
        );
    }
    Ok(())
}

pub fn api_servers_reach_no_node(cluster: &Cluster) -> Result<()> {
    let network = format!("{}_nodes", cluster.project());
    let pid = cluster.pid("kube-apiserver")?;
    for node in NODES {
        let container = &cluster.containers(node)?[0];
        let all = cluster.inspect(container)?;
        let address = all["NetworkSettings"]["Networks"][&network]["IPAddress"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        ensure!(!address.is_empty(), "{node} has no address");
        let code = run(
            Command::new("nsenter")
                .args([
                    "-t",
                    &pid,
                    "-n",
                    "curl",
                    "-sk",
                    "-m",
                    "2",
                    "-o",
                    "/dev/null",
                ])
                .arg(format!("https://{address}:10250/pods")),
            Duration::from_secs(10),
        )?
        .code;
        ensure!(
            code == 7 || code == 28,
            "kube-apiserver reaches the kubelet of {node} (curl ended with {code})"
        );
    }
    Ok(())
}
