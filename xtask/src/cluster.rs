//! The dev cluster: up, down, and gone.

use crate::stage::Stages;
use crate::{images, paths, prerequisites, run, services, upstream};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Which dev cluster.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub images: images::Options,
    /// Name of the compose project
    #[arg(long, default_value = "sextant")]
    pub project: String,
    /// Port of kube-apiserver on 127.0.0.1
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Port of the supervisor on 127.0.0.1
    #[arg(long, default_value_t = 9443)]
    pub join_port: u16,
}

/// How long a cluster may take to become ready before `up` gives up.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// Builds what is missing, starts the cluster, waits until it answers and says how to use it.
pub fn up(options: &Options) -> Result<()> {
    let mut stages = Stages::new(7);
    stages.run("check prerequisites", prerequisites::ensure)?;
    let upstream = stages.run("build upstream components", upstream::build_all)?;
    let programs = stages.run("build Sextant", || services::build(&options.images.profile))?;
    stages.run("make images", || images::build(&upstream, &programs))?;
    let cluster = Cluster::new(options);
    stages.run("start containers", || cluster.start())?;
    stages.run("wait for the API", || cluster.wait_for_api())?;
    let nodes = stages.run("wait for nodes and DNS", || cluster.wait_for_nodes())?;
    println!("\n{}\n\n{nodes}\n{}", images::versions(), stages.summary());
    println!("Images\n{}", images::sizes()?);
    println!("Try:\n");
    println!(
        "  export KUBECONFIG={} PATH={}:$PATH",
        cluster.kubeconfig().display(),
        bin().display()
    );
    println!("  kubectl get pods --all-namespaces --output wide");
    println!("  sextant status");
    println!(
        "  kubectl create deployment hello --replicas 3 --image {} -- httpd -f -p 8080",
        images::reference("toolbox")
    );
    Ok(())
}

/// Stops the containers; volumes stay.
pub fn down(options: &Options) -> Result<()> {
    Cluster::new(options).compose("stop", &["down", "--timeout", "30"])
}

/// Stops the containers and removes their volumes.
pub fn clean(options: &Options) -> Result<()> {
    let cluster = Cluster::new(options);
    cluster.compose("remove", &["down", "--volumes", "--timeout", "5"])?;
    let _ = std::fs::remove_file(cluster.kubeconfig());
    paths::remove(&cluster.state())
}

fn bin() -> PathBuf {
    paths::out().join("bin")
}

/// One compose project.
pub struct Cluster {
    options: Options,
}

impl Cluster {
    /// The project that `options` name.
    pub fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
        }
    }

    /// Where the kubeconfig lies.
    pub fn kubeconfig(&self) -> PathBuf {
        let name = match self.options.project.as_str() {
            "sextant" => "kubeconfig".to_owned(),
            other => format!("kubeconfig-{other}"),
        };
        paths::out().join(name)
    }

    fn state(&self) -> PathBuf {
        paths::out().join("state").join(&self.options.project)
    }

    fn docker_compose(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", &self.options.project, "--file"])
            .arg(paths::root().join("compose/compose.yaml"))
            .env("SEXTANT_API_PORT", self.options.api_port.to_string())
            .env("SEXTANT_JOIN_PORT", self.options.join_port.to_string());
        command
    }

    fn compose(&self, name: &str, arguments: &[&str]) -> Result<()> {
        run::logged(
            &format!("compose {name}"),
            self.docker_compose().args(arguments),
        )
    }

    /// Starts the containers.
    pub fn start(&self) -> Result<()> {
        self.compose("up", &["up", "--detach", "--remove-orphans"])
    }

    fn sextant(&self) -> Command {
        let mut command = Command::new(bin().join("sextant"));
        command
            .args(["--server", &format!("127.0.0.1:{}", self.options.join_port)])
            .args(["--project", &self.options.project, "--state-dir"])
            .arg(self.state());
        command
    }

    fn kubectl(&self) -> Command {
        let mut command = Command::new(bin().join("kubectl"));
        command
            .env("KUBECONFIG", self.kubeconfig())
            .arg("--request-timeout=5s");
        command
    }

    /// Waits until the supervisor answers and kube-apiserver says that it is ready.
    pub fn wait_for_api(&self) -> Result<()> {
        self.wait("the API", || {
            let kubeconfig = self.kubeconfig();
            let server = format!("https://127.0.0.1:{}", self.options.api_port);
            run::output(
                self.sextant()
                    .args(["kubeconfig", "--api-server", &server, "--output-file"])
                    .arg(&kubeconfig),
            )?;
            run::output(self.kubectl().args(["get", "--raw", "/readyz"])).map(drop)
        })
    }

    /// Waits until every node and the DNS are ready; returns the table of nodes.
    fn wait_for_nodes(&self) -> Result<String> {
        self.wait_for_ready_nodes(2)?;
        self.wait_for_dns()?;
        run::output(self.kubectl().args(["get", "nodes", "--output", "wide"]))
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
            let dns = self.json(&["get", "deployment", "coredns", "--namespace", "kube-system"])?;
            match dns["status"]["readyReplicas"].as_u64() {
                Some(1..) => Ok(()),
                _ => bail!("CoreDNS has no ready replica yet"),
            }
        })
    }

    /// Waits until a pod has ended with success.
    pub fn wait_for_success(&self, pod: &str) -> Result<()> {
        self.wait(&format!("pod {pod}"), || {
            let phase = self.json(&["get", "pod", pod])?["status"]["phase"].clone();
            if phase == "Succeeded" {
                Ok(())
            } else {
                bail!("pod {pod} is {phase}")
            }
        })
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let file = paths::out().join(format!("{}.yaml", self.options.project));
        std::fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))?;
        self.wait("the default ServiceAccount", || {
            run::output(self.kubectl().args(["apply", "--filename"]).arg(&file)).map(drop)
        })
    }

    /// Resident memory of each process of the cluster in MiB, as `<service>/<program>`.
    pub fn memory(&self) -> Result<Value> {
        let mut all = serde_json::Map::new();
        let services = run::output(self.docker_compose().args(["ps", "--services"]))?;
        for service in services.lines() {
            let id = run::output(self.docker_compose().args(["ps", "--quiet", service]))?;
            let table = run::output(Command::new("docker").args(["top", &id, "-eo", "rss,comm"]))?;
            for line in table.lines().skip(1) {
                let mut words = line.split_whitespace();
                let (Some(rss), Some(program)) = (words.next(), words.next()) else {
                    continue;
                };
                let mebibytes = rss.parse::<f64>().unwrap_or(0.0) / 1024.0;
                let sum = all
                    .entry(format!("{service}/{program}"))
                    .or_insert(0.0.into());
                *sum = (sum.as_f64().unwrap_or(0.0) + mebibytes).into();
            }
        }
        Ok(Value::Object(all))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run::output(self.kubectl().args(arguments).args(["--output", "json"]))?;
        serde_json::from_str(&text).context("reading kubectl's answer")
    }

    /// Repeats `check` until it succeeds. On time-out the error holds the last answer, and the log of the part
    /// that isn't healthy.
    fn wait(&self, what: &str, check: impl Fn() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        let mut said = Instant::now();
        loop {
            let Err(error) = check() else { return Ok(()) };
            if started.elapsed() > READY_WITHIN {
                bail!("waiting for {what}: {error:#}\n{}", self.diagnosis());
            }
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                let reason: String = format!("{error:#}").chars().take(200).collect();
                eprintln!(
                    "      {} s, waiting for {what}: {reason}",
                    started.elapsed().as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// The state of all containers, and the last lines of those that aren't healthy.
    fn diagnosis(&self) -> String {
        let Ok(list) = run::output(
            self.docker_compose()
                .args(["ps", "--all", "--format", "json"]),
        ) else {
            return "docker compose ps doesn't answer".to_owned();
        };
        let mut text = String::new();
        for container in list
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        {
            let (service, status) = (
                container["Service"].as_str().unwrap_or("?"),
                container["Status"].as_str().unwrap_or("?"),
            );
            text.push_str(&format!("  {service:<26} {status}\n"));
            if container["Health"] != "healthy" {
                let logs = run::output(self.docker_compose().args([
                    "logs",
                    "--no-log-prefix",
                    "--tail",
                    "8",
                    service,
                ]));
                for line in logs.unwrap_or_default().lines() {
                    text.push_str(&format!(
                        "      {}\n",
                        line.chars().take(300).collect::<String>()
                    ));
                }
            }
        }
        text.push_str("`docker compose -p ");
        text.push_str(&self.options.project);
        text.push_str(" logs SERVICE` tells more; docs/troubleshooting.md lists known causes\n");
        text
    }
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
