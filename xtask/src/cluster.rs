//! The dev cluster: up, down, and gone.

mod health;
mod readiness;
mod removal;

use crate::stage::Stages;
use crate::{images, paths, prerequisites, run, services, upstream};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sextant_project::{Observed, Project, bin};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// The first deployment: of an image that every node has, with a page to show. README.md has it too.
const HELLO: &str = concat!(
    "kubectl create deployment hello --replicas 3 --image sextant/toolbox:",
    env!("CARGO_PKG_VERSION"),
    " -- sh -c 'hostname > /tmp/index.html; httpd -f -p 8080 -h /tmp'"
);

/// What `sextant` looks for by itself.
const PROJECT: &str = "sextant";
const JOIN_PORT: u16 = 9443;

/// Which dev cluster.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub images: images::Options,
    /// Name of the compose project
    #[arg(long, default_value = PROJECT)]
    pub project: String,
    /// Port of kube-apiserver on 127.0.0.1
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Port of the supervisor on 127.0.0.1
    #[arg(long, default_value_t = JOIN_PORT)]
    pub join_port: u16,
    /// Start what observes it, too: compose/observability.yaml
    #[arg(long)]
    pub observability: bool,
    /// Port of Prometheus on 127.0.0.1
    #[arg(long, default_value_t = Observed::default().prometheus_port)]
    pub prometheus_port: u16,
}

/// Builds what is missing, starts the cluster, waits until it answers and says how to use it.
pub fn up(options: &Options) -> Result<()> {
    let mut stages = Stages::new(stages(options));
    let (cluster, nodes) = start(options, &mut stages)?;
    println!("\n{}\n\n{nodes}\n{}", images::versions(), stages.summary());
    println!("Images\n{}", images::sizes()?);
    println!("Try:\n");
    println!(
        "  export KUBECONFIG={} PATH={}:$PATH",
        cluster.project.kubeconfig().display(),
        bin().display()
    );
    println!("  kubectl get pods --all-namespaces --output wide");
    println!("  {}", ask(options));
    println!("  {HELLO}");
    if let Some(observed) = cluster.project.observed {
        let port = observed.prometheus_port;
        println!(
            "\nDashboards are on http://127.0.0.1:{port}/consoles/index.html; docs/observability.md tells the rest."
        );
    }
    Ok(())
}

/// How many stages [`start`] has.
pub fn stages(options: &Options) -> usize {
    if options.observability { 9 } else { 7 }
}

/// Builds what is missing and starts the cluster; returns it with the table of its nodes.
pub fn start(options: &Options, stages: &mut Stages) -> Result<(Cluster, String)> {
    let cluster = Cluster::new(options);
    stages.run("check prerequisites", || {
        prerequisites::ensure()?;
        cluster.check_ports()
    })?;
    let upstream = stages.run("build upstream components", upstream::build_all)?;
    let programs = stages.run("build Sextant", || services::build(&options.images.profile))?;
    stages.run("make images", || images::build(&upstream, &programs))?;
    if options.observability {
        images::observability(stages, &programs)?;
    }
    stages.run("start containers", || cluster.start())?;
    stages.run("wait for the API", || cluster.wait_for_api())?;
    let nodes = stages.run("wait for nodes and DNS", || cluster.wait_for_nodes())?;
    Ok((cluster, nodes))
}

/// How to ask this cluster: any but the default one has to be named.
fn ask(options: &Options) -> String {
    let (name, port) = (options.project.as_str(), options.join_port);
    if (name, port) == (PROJECT, JOIN_PORT) {
        return "sextant status".to_owned();
    }
    format!("sextant --project {name} --server 127.0.0.1:{port} --context {name} status")
}

/// Stops the containers; volumes stay.
pub fn down(options: &Options) -> Result<()> {
    let cluster = Cluster::whole(options);
    cluster.project.remove_hosted_nodes(false)?;
    removal::remove(&cluster, &["--timeout", "30"])
}

/// Stops the containers and removes their volumes.
pub fn clean(options: &Options) -> Result<()> {
    let cluster = Cluster::whole(options);
    cluster.project.remove_hosted_nodes(true)?;
    removal::remove(&cluster, &["--volumes", "--timeout", "5"])?;
    let _ = std::fs::remove_file(cluster.project.kubeconfig());
    paths::remove(&cluster.project.state())
}

/// Why a port of 127.0.0.1 can't be listened on.
fn taken(port: u16) -> Option<(u16, std::io::Error)> {
    TcpListener::bind(("127.0.0.1", port))
        .err()
        .map(|error| (port, error))
}

/// One compose project.
pub struct Cluster {
    /// Its commands.
    pub project: Project,
}

impl Cluster {
    /// The project that `options` name.
    pub fn new(options: &Options) -> Self {
        Self {
            project: Project {
                name: options.project.clone(),
                api_port: options.api_port,
                join_port: options.join_port,
                observed: options.observability.then_some(Observed {
                    prometheus_port: options.prometheus_port,
                }),
            },
        }
    }

    /// The project with all that it may have been started with.
    fn whole(options: &Options) -> Self {
        Self::new(&Options {
            observability: true,
            ..options.clone()
        })
    }

    fn compose(&self, name: &str, arguments: &[&str]) -> Result<()> {
        run::logged(
            &format!("compose {name}"),
            self.project.compose().args(arguments),
        )
    }

    /// Says early that something else listens where the cluster's ports are to be.
    fn check_ports(&self) -> Result<()> {
        let edge = |more: &[&str]| {
            let mut ps = self.project.compose();
            run::output(ps.args(["ps", "--quiet"]).args(more).arg("edge"))
        };
        let started = Instant::now();
        loop {
            if !edge(&[])?.is_empty() {
                return Ok(());
            }
            let observed = self.project.observed.map(|o| o.prometheus_port);
            let ports = [self.project.api_port, self.project.join_port];
            let Some((port, error)) = ports.into_iter().chain(observed).find_map(taken) else {
                return Ok(());
            };
            // After an interrupted start the engine may be about to start or to stop ours.
            if edge(&["--all"])?.is_empty() || started.elapsed() > Duration::from_secs(10) {
                bail!(
                    "port {port} of 127.0.0.1 can't be used: {error}; free it (`ss -ltnp` as root shows who has \
                     it), or choose others: cargo xtask up --api-port 7443 --join-port 10443 --prometheus-port 19090"
                );
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Starts the containers.
    pub fn start(&self) -> Result<()> {
        self.compose("up", &["up", "--detach", "--remove-orphans"])
    }

    fn kubectl(&self) -> Command {
        let mut command = self.project.kubectl();
        command.arg("--request-timeout=5s");
        command
    }

    /// Waits until a pod that prints one answer and ends has printed it. Its log is followed, which tells at once;
    /// the pod's status comes up to two seconds later.
    pub fn wait_for_output(&self, pod: &str, wanted: &str) -> Result<()> {
        self.wait(&format!("pod {pod}"), || {
            let said = run::output(self.kubectl().args(["logs", "--follow", pod]))?;
            if said == wanted {
                Ok(())
            } else {
                bail!("pod {pod} said {said:?}")
            }
        })
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let file = paths::out().join(format!("{}.yaml", self.project.name));
        std::fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))?;
        self.wait("the default ServiceAccount", || {
            run::output(self.kubectl().args(["apply", "--filename"]).arg(&file)).map(drop)
        })
    }

    /// Resident memory of each process of the cluster in MiB, as `<service>/<program>`.
    pub fn memory(&self) -> Result<Value> {
        let mut all = serde_json::Map::new();
        let services = run::output(self.project.compose().args(["ps", "--services"]))?;
        for service in services.lines() {
            let id = run::output(self.project.compose().args(["ps", "--quiet", service]))?;
            let table =
                run::output(Command::new("docker").args(["top", &id, "-eo", "pid,rss,comm"]))?;
            for line in table.lines().skip(1) {
                let mut words = line.split_whitespace().skip(1);
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

    /// `kubectl … --output json`
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run::output(self.kubectl().args(arguments).args(["--output", "json"]))?;
        serde_json::from_str(&text).context("reading kubectl's answer")
    }

    /// The same for `kubectl get …` of something that may not be there.
    fn find(&self, arguments: &[&str]) -> Result<Option<Value>> {
        let mut get = self.kubectl();
        get.args(["get", "--ignore-not-found", "--output", "json"])
            .args(arguments);
        let text = run::output(&mut get)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let found = serde_json::from_str(&text).context("reading kubectl's answer")?;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_begins_with_the_same_deployment() {
        let readme = std::fs::read_to_string(crate::paths::root().join("README.md")).unwrap();
        assert!(
            readme.contains(super::HELLO),
            "not in README.md: {}",
            super::HELLO
        );
    }
}
