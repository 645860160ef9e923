//! One cluster of the compose file, beside any that a user runs.

use crate::{Api, Outcome, eventually, run};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sextant_project::{Leftovers, Observed, Project};
use std::process::Command;
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_secs(180);

/// A compose project with its own ports; removed when dropped.
pub struct Cluster {
    /// Its commands.
    pub project: Project,
}

impl Cluster {
    /// Removes what an earlier run left under the same name and starts a new cluster.
    ///
    /// # Errors
    /// Docker refuses, or the API or the nodes aren't ready in time.
    pub fn start(project: &str, api_port: u16, join_port: u16) -> Result<Self> {
        let cluster = Self::existing(project, api_port, join_port);
        cluster.remove()?;
        cluster.compose(&["up", "--detach"])?;
        cluster.wait_ready(2)?;
        Ok(cluster)
    }

    /// [`Self::start`] with a collector and a Prometheus beside it; ports of kube-apiserver and the supervisor.
    ///
    /// # Errors
    /// As there.
    pub fn start_observed(project: &str, ports: (u16, u16), observed: Observed) -> Result<Self> {
        let cluster = Self::observed(project, ports, observed);
        cluster.remove()?;
        cluster.compose(&["up", "--detach"])?;
        cluster.wait_ready(2)?;
        Ok(cluster)
    }

    /// [`Self::existing`] with a collector and a Prometheus beside it.
    #[must_use]
    pub fn observed(project: &str, (api, join): (u16, u16), observed: Observed) -> Self {
        let mut cluster = Self::existing(project, api, join);
        cluster.project.observed = Some(observed);
        cluster
    }

    /// A cluster that is there already, in whatever state.
    #[must_use]
    pub fn existing(project: &str, api_port: u16, join_port: u16) -> Self {
        Self {
            project: Project {
                name: project.to_owned(),
                api_port,
                join_port,
                observed: None,
            },
        }
    }

    /// URL of kube-apiserver.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.project.api_url()
    }

    /// URL of the supervisor's join API.
    #[must_use]
    pub fn join_url(&self) -> String {
        format!("https://{}", self.project.supervisor())
    }

    /// The containers' states and the last lines of their logs, for a failure's message.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        let states = self.compose(&["ps", "--all"]).unwrap_or_default();
        let logs = self.compose(&["logs", "--tail", "6"]).unwrap_or_default();
        format!("{states}\n{logs}")
    }

    /// Name of the compose project.
    pub fn project(&self) -> &str {
        &self.project.name
    }

    /// Waits until the API answers, `nodes` nodes are Ready and CoreDNS answers.
    ///
    /// # Errors
    /// Not within three minutes; holds the last state.
    pub fn wait_ready(&self, nodes: usize) -> Result<()> {
        eventually("a kubeconfig", SLOW, || self.write_kubeconfig())?;
        eventually("nodes Ready", SLOW, || {
            let ready = self.ready_nodes()?;
            if ready.len() < nodes {
                bail!("ready: {ready:?}")
            } else {
                Ok(())
            }
        })?;
        eventually("CoreDNS ready", SLOW, || {
            let dns = self.get(&["deployment", "coredns", "-n", "kube-system"])?;
            match dns["status"]["readyReplicas"].as_u64() {
                Some(1..) => Ok(()),
                _ => bail!("{}", dns["status"]),
            }
        })
    }

    /// Names of the nodes whose Ready condition is true.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn ready_nodes(&self) -> Result<Vec<String>> {
        let nodes = self.get(&["nodes"])?;
        Ok(nodes["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| {
                node["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
            .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    fn write_kubeconfig(&self) -> Result<()> {
        run(&mut self.project.write_kubeconfig(), QUICK)?.ok()?;
        self.kubectl(&["get", "--raw", "/readyz"]).map(drop)
    }

    /// Runs `docker compose` on this project.
    ///
    /// # Errors
    /// It fails, or takes over three minutes.
    pub fn compose(&self, arguments: &[&str]) -> Result<String> {
        run(self.project.compose().args(arguments), SLOW)?.ok()
    }

    /// [`Self::compose`] with settings of the compose file.
    ///
    /// # Errors
    /// It fails, or takes over three minutes.
    pub fn compose_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Result<String> {
        let mut compose = self.project.compose();
        run(compose.envs(settings.iter().copied()).args(arguments), SLOW)?.ok()
    }

    /// The containers of one service of the compose file.
    ///
    /// # Errors
    /// Docker fails, or there is none.
    pub fn containers(&self, service: &str) -> Result<Vec<String>> {
        let service_label = format!("label=com.docker.compose.service={service}");
        let list = docker(&[
            "ps",
            "-aq",
            "--filter",
            &self.project.filter(),
            "--filter",
            &service_label,
        ])?;
        let ids: Vec<String> = list.lines().map(str::to_owned).collect();
        if ids.is_empty() {
            bail!("service {service} has no container");
        }
        Ok(ids)
    }

    /// `docker inspect` of a container.
    ///
    /// # Errors
    /// Docker fails.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        let list: Value = serde_json::from_str(&docker(&["inspect", container])?)?;
        Ok(list[0].clone())
    }

    /// The process id of a service's first container, as this machine sees it.
    ///
    /// # Errors
    /// Docker fails.
    pub fn pid(&self, service: &str) -> Result<String> {
        Ok(self.inspect(&self.containers(service)?[0])?["State"]["Pid"].to_string())
    }

    /// The CLI's end.
    ///
    /// # Errors
    /// It can't be started or hangs.
    pub fn sextant(&self, arguments: &[&str]) -> Result<Outcome> {
        run(self.project.sextant().args(arguments), QUICK)
    }

    /// `docker compose down`.
    ///
    /// # Errors
    /// Docker fails, and not only for networks that it won't let go, see [`Leftovers`].
    pub fn down(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["down"];
        all.extend(arguments);
        self.borne(self.compose(&all), arguments.contains(&"--volumes"))
    }

    /// How a `down` ended, without complaints of networks alone.
    pub(crate) fn borne(&self, ended: Result<String>, with_volumes: bool) -> Result<()> {
        let Err(error) = ended else {
            return Ok(());
        };
        let leftovers = Leftovers::of(&self.project)?;
        if !leftovers.are_bearable(with_volumes) {
            return Err(error);
        }
        eprintln!("networks stay: {:?}", leftovers.lost_networks()?);
        Ok(())
    }

    /// Stops and removes containers, networks and volumes of the project.
    ///
    /// # Errors
    /// Docker fails.
    pub fn remove(&self) -> Result<()> {
        self.project.remove_hosted_nodes(true)?;
        self.down(&["--volumes", "--timeout", "5", "--remove-orphans"])?;
        let _ = std::fs::remove_dir_all(self.project.state());
        let _ = std::fs::remove_file(self.project.kubeconfig());
        Ok(())
    }
}

impl Api for Cluster {
    fn kubectl_command(&self) -> Command {
        self.project.kubectl()
    }
}

/// The output of one docker command.
///
/// # Errors
/// Docker fails, or takes over three minutes.
pub fn docker(arguments: &[&str]) -> Result<String> {
    run(Command::new("docker").args(arguments), SLOW)?
        .ok()
        .map(|text| text.trim().to_owned())
        .with_context(|| format!("docker {arguments:?}"))
}

/// The same where the output is no text.
///
/// # Errors
/// Docker can't be started or fails.
pub fn docker_bytes(arguments: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new("docker")
        .args(arguments)
        .output()
        .with_context(|| format!("docker {arguments:?}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("docker {arguments:?}: {}: {said}", done.status);
    }
    Ok(done.stdout)
}
