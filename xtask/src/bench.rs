//! `bench-up`: a warm start (images there, volumes empty) beside bare upstream kube-apiserver on etcd, in one run.
//! Prints a table and writes out/bench-up.json.

pub mod datastore;
pub mod fleet;
pub mod idle;
pub mod scale;
pub mod telemetry;

use crate::cluster::{self, Cluster};
use crate::{images, paths, prerequisites, run, services, upstream};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(180);
const PROJECT: &str = "sextant-bench";

/// How often, and with which programs.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub images: images::Options,
    /// How many starts of each
    #[arg(long, default_value_t = 3)]
    pub runs: u32,
}

/// Alternates bare upstream and Sextant; the table shows medians.
pub fn up(options: &Options) -> Result<()> {
    prerequisites::ensure_for_tests()?;
    let upstream = upstream::build_all()?;
    let programs = services::build(&options.images.profile)?;
    images::build(&upstream, &programs)?;
    let mut starts: Vec<Map<String, Value>> = Vec::new();
    let mut memory = Value::Null;
    for number in 1..=options.runs {
        eprintln!("run {number} of {}", options.runs);
        let bare = Bare::start(&upstream)?.ready()?;
        let (mut figures, rss) = sextant(options)?;
        figures.insert("bare_api_ready".to_owned(), json!(bare));
        starts.push(figures);
        memory = rss;
    }
    report(&starts, &memory)
}

fn report(starts: &[Map<String, Value>], memory: &Value) -> Result<()> {
    println!("seconds from `up`, median of {} (min – max)", starts.len());
    let mut medians = Map::new();
    for name in [
        "bare_api_ready",
        "api_ready",
        "nodes_ready",
        "dns_ready",
        "pod_answers_by_service_name",
    ] {
        let mut values: Vec<f64> = starts
            .iter()
            .filter_map(|start| start[name].as_f64())
            .collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            continue;
        };
        let median = values[values.len() / 2];
        println!("  {name:<30} {median:>7.2}  ({min:.2} – {max:.2})");
        medians.insert(name.to_owned(), json!(median));
    }
    println!("resident memory when idle, MiB");
    for (name, value) in memory.as_object().into_iter().flatten() {
        println!("  {name:<30} {:>7.1}", value.as_f64().unwrap_or(0.0));
    }
    let file = paths::out().join("bench-up.json");
    let all = json!({"seconds": medians, "starts": starts, "resident_mebibytes": memory});
    std::fs::write(&file, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("writing {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

/// One warm start of the dev cluster; its times, and its memory afterwards.
fn sextant(options: &Options) -> Result<(Map<String, Value>, Value)> {
    let options = cluster::Options {
        images: options.images.clone(),
        project: PROJECT.to_owned(),
        api_port: 26443,
        join_port: 29443,
        observability: false,
        prometheus_port: 29090,
    };
    cluster::clean(&options)?;
    let cluster = Cluster::new(&options);
    let started = Instant::now();
    let mut figures = Map::new();
    let mut mark = |name: &str| {
        figures.insert(name.to_owned(), json!(started.elapsed().as_secs_f64()));
    };
    cluster.start()?;
    cluster.wait_for_api()?;
    mark("api_ready");
    cluster.apply(&workload())?;
    cluster.wait_for_ready_nodes(2)?;
    mark("nodes_ready");
    cluster.wait_for_dns()?;
    mark("dns_ready");
    // The pod `probe` prints what the Service answers by its name, and ends.
    cluster.wait_for_output("probe", "hello")?;
    mark("pod_answers_by_service_name");
    let memory = cluster.memory()?;
    cluster::clean(&options)?;
    Ok((figures, memory))
}

/// A server on one node, and a pod on the other that asks it by its Service's name until it answers.
fn workload() -> String {
    let image = images::reference("toolbox");
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  nodeName: node-1
  containers:
    - {{name: web, image: "{image}", command: [sh, -c, "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: probe}}
spec:
  nodeName: node-2
  restartPolicy: Never
  containers:
    - {{name: probe, image: "{image}", command: [sh, -c, "until wget -q -T 1 -O - http://web 2>/dev/null; do usleep 100000; done"]}}
"#
    )
}

/// Upstream's etcd and kube-apiserver and nothing else, on loopback.
struct Bare {
    children: Vec<Child>,
    folder: PathBuf,
    started: Instant,
}

impl Bare {
    fn start(upstream: &upstream::Upstream) -> Result<Self> {
        let folder = paths::out().join("bench-bare");
        paths::remove(&folder)?;
        paths::create(&folder)?;
        let key = folder.join("sa.key");
        run::output(
            Command::new("openssl")
                .args([
                    "ecparam",
                    "-name",
                    "prime256v1",
                    "-genkey",
                    "-noout",
                    "-out",
                ])
                .arg(&key),
        )?;
        let started = Instant::now();
        let mut bare = Self {
            children: Vec::new(),
            folder: folder.clone(),
            started,
        };
        bare.spawn(
            Command::new(upstream.program("etcd")?)
                .arg("--data-dir")
                .arg(folder.join("etcd"))
                .args(["--listen-client-urls", "http://127.0.0.1:22379"])
                .args(["--advertise-client-urls", "http://127.0.0.1:22379"])
                .args(["--listen-peer-urls", "http://127.0.0.1:22380"]),
            "etcd",
        )?;
        bare.spawn(
            Command::new(upstream.program("kube-apiserver")?)
                .args([
                    "--etcd-servers=http://127.0.0.1:22379",
                    "--secure-port=26444",
                ])
                .args([
                    "--bind-address=127.0.0.1",
                    "--service-cluster-ip-range=10.96.0.0/16",
                ])
                .args(["--service-account-issuer=https://kubernetes.default.svc"])
                .arg(flag("--service-account-key-file", &key))
                .arg(flag("--service-account-signing-key-file", &key))
                .arg(flag("--cert-dir", &folder.join("certs")))
                .args(["--authorization-mode=RBAC"]),
            "kube-apiserver",
        )?;
        Ok(bare)
    }

    fn spawn(&mut self, command: &mut Command, name: &str) -> Result<()> {
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push(child);
        Ok(())
    }

    /// Seconds until /readyz says ok; the processes end with the value.
    fn ready(self) -> Result<f64> {
        while self.started.elapsed() < WITHIN {
            let mut curl = Command::new("curl");
            curl.args(["-skf", "-m", "1", "https://127.0.0.1:26444/readyz"]);
            if run::succeeds(&mut curl) {
                return Ok(self.started.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "bare kube-apiserver wasn't ready within {WITHIN:?}; logs in {}",
            self.folder.display()
        )
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
