//! One hosted control plane with its nodes, in a cluster that hosts it.

use crate::{Api, Cluster, Outcome, eventually, run};
use anyhow::{Result, ensure};
use sextant_project::Plane;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_secs(180);

/// A plane, and the Helm that installs it.
pub struct Tenant {
    plane: Plane,
    helm: PathBuf,
}

impl Tenant {
    /// A plane that isn't installed yet.
    #[must_use]
    pub fn new(host: &Cluster, helm: &Path, name: &str, ports: (u16, u16)) -> Self {
        Self {
            plane: Plane {
                host: host.project.clone(),
                name: name.to_owned(),
                api_port: ports.0,
                join_port: ports.1,
            },
            helm: helm.to_owned(),
        }
    }

    /// Name of its namespace, its release and its objects.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plane.name
    }

    /// `ip:port` of its kube-apiserver, as its nodes reach it.
    ///
    /// # Errors
    /// The hosting node doesn't run.
    pub fn api_address(&self) -> Result<String> {
        let address = self.plane.host.node_address("node-1")?;
        Ok(format!("{address}:{}", self.plane.api_port))
    }

    /// `ip:port` of its supervisor, as its nodes reach it.
    ///
    /// # Errors
    /// The hosting node doesn't run.
    pub fn join_address(&self) -> Result<String> {
        let address = self.plane.host.node_address("node-1")?;
        Ok(format!("{address}:{}", self.plane.join_port))
    }

    /// `helm upgrade --install` with these `--set`s.
    ///
    /// # Errors
    /// Helm can't be started or hangs.
    pub fn install(&self, set: &[&str]) -> Result<Outcome> {
        run(&mut self.plane.install(&self.helm, set)?, SLOW)
    }

    /// `helm …` in its namespace.
    ///
    /// # Errors
    /// Helm can't be started or hangs.
    pub fn helm(&self, arguments: &[&str]) -> Result<Outcome> {
        run(self.plane.helm(&self.helm).args(arguments), SLOW)
    }

    /// Writes its kubeconfig and waits until its API answers.
    ///
    /// # Errors
    /// Not within three minutes; holds the last state.
    pub fn wait_for_api(&self) -> Result<()> {
        eventually(&format!("the API of {}", self.name()), SLOW, || {
            run(&mut self.plane.write_kubeconfig(), QUICK)?.ok()?;
            self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"])
                .map(drop)
        })
    }

    /// A kubeconfig that holds a certificate, for two hours.
    ///
    /// # Errors
    /// The CLI fails.
    pub fn static_kubeconfig(&self) -> Result<PathBuf> {
        let mut path = self.plane.kubeconfig().into_os_string();
        path.push("-static");
        let mut command = self.plane.sextant();
        command
            .args(["kubeconfig", "--static", "--ttl", "2h", "--output-file"])
            .arg(&path);
        run(&mut command, QUICK)?.ok()?;
        Ok(path.into())
    }

    /// Name of a node's container.
    #[must_use]
    pub fn container(&self, node: &str) -> String {
        self.plane.container(node)
    }

    /// Starts a node container by the command that `sextant token create` prints.
    ///
    /// # Errors
    /// No token, or Docker refuses.
    pub fn start_node(&self, node: &str) -> Result<()> {
        let made = run(&mut self.plane.create_token(node), QUICK)?.ok()?;
        run(&mut self.plane.node(&made)?, SLOW)?.ok().map(drop)
    }

    /// The same, with the supervisor at another `host:port` than the command says.
    ///
    /// # Errors
    /// No token, or Docker refuses.
    pub fn start_node_at(&self, supervisor: &str, node: &str) -> Result<()> {
        let made = run(&mut self.plane.create_token(node), QUICK)?.ok()?;
        let made = made.replace(&self.join_address()?, supervisor);
        run(&mut self.plane.node(&made)?, SLOW)?.ok().map(drop)
    }

    /// Waits until a node is Ready and its CoreDNS answers.
    ///
    /// # Errors
    /// Not within three minutes.
    pub fn wait_for_node(&self, node: &str) -> Result<()> {
        eventually(&format!("node {node}"), SLOW, || {
            self.kubectl(&[
                "wait",
                "--for=condition=Ready",
                "--timeout=5s",
                "node",
                node,
            ])
        })?;
        eventually("CoreDNS", SLOW, || {
            let dns = self.get(&["deployment", "coredns", "-n", "kube-system"])?;
            let ready = dns["status"]["readyReplicas"].as_u64();
            ensure!(ready.is_some_and(|ready| ready > 0), "{}", dns["status"]);
            Ok(())
        })
    }

    /// `sextant` as its administrator.
    ///
    /// # Errors
    /// It can't be started or hangs.
    pub fn sextant(&self, arguments: &[&str]) -> Result<Outcome> {
        run(self.plane.sextant().args(arguments), QUICK)
    }

    /// `sextant` as its administrator, shown to the supervisor at another `host:port`.
    ///
    /// # Errors
    /// It can't be started or hangs.
    pub fn sextant_at(&self, supervisor: &str, arguments: &[&str]) -> Result<Outcome> {
        let mut command = self.plane.sextant();
        command.args(["--server", supervisor]).args(arguments);
        run(&mut command, QUICK)
    }

    /// `sextant hosted purge`
    ///
    /// # Errors
    /// It can't be started or hangs.
    pub fn purge(&self, arguments: &[&str]) -> Result<Outcome> {
        let place = self.plane.place();
        let mut all = vec!["hosted", "purge", &place];
        all.extend(arguments);
        self.sextant(&all)
    }

    /// Removes its nodes with their volumes, and its files.
    ///
    /// # Errors
    /// Docker refuses.
    pub fn remove(&self) -> Result<()> {
        self.plane.remove_nodes(true)?;
        let _ = std::fs::remove_dir_all(self.plane.state());
        let mut fixed = self.plane.kubeconfig().into_os_string();
        fixed.push("-static");
        for file in [
            self.plane.kubeconfig(),
            fixed.into(),
            self.plane.values_file(),
        ] {
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }
}

impl Api for Tenant {
    fn kubectl_command(&self) -> Command {
        self.plane.kubectl()
    }
}
