//! A control plane that a cluster of `compose.yaml` hosts: where its files lie, and the commands that drive it.

use crate::{Project, bin, out, root};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Images that its pods run, beside the toolbox that every node has.
pub const IMAGES: [&str; 8] = [
    "cert-authority",
    "cli",
    "datastore-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "supervisor",
    "token-service",
];

/// One hosted control plane: namespace and release are called alike.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The cluster that hosts it.
    pub host: Project,
    /// Name of its namespace, its release and its Docker containers' prefix.
    pub name: String,
    /// NodePort of kube-apiserver.
    pub api_port: u16,
    /// NodePort of the supervisor.
    pub join_port: u16,
}

impl Plane {
    /// `NAMESPACE/NAME`, as `sextant --hosted` takes it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{0}/{0}", self.name)
    }

    /// Where its kubeconfig lies.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        out().join(format!("kubeconfig-{}-{}", self.host.name, self.name))
    }

    /// Where its values lie.
    #[must_use]
    pub fn values_file(&self) -> PathBuf {
        out().join(format!("values-{}-{}.yaml", self.host.name, self.name))
    }

    /// Where a join token for a node lies.
    #[must_use]
    pub fn token(&self, node: &str) -> PathBuf {
        out().join(format!("token-{}-{node}", self.host.name))
    }

    /// Where `sextant` keeps its administrator's identity.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        out()
            .join("state")
            .join(format!("{}.{}", self.host.name, self.name))
    }

    /// The values of a plane that is reached at a node of the dev cluster, whose address is `address`.
    #[must_use]
    pub fn values(&self, address: &str) -> String {
        let Self {
            name,
            api_port,
            join_port,
            ..
        } = self;
        format!(
            "fullnameOverride: {name}\n\
             image: {{pullPolicy: Never}}\n\
             public:\n  \
               apiserver:\n    \
                 endpoint: {address}:{api_port}\n    \
                 service: {{type: NodePort, nodePort: {api_port}}}\n  \
               supervisor:\n    \
                 endpoint: {address}:{join_port}\n    \
                 service: {{type: NodePort, nodePort: {join_port}}}\n"
        )
    }

    /// `helm …` in its namespace of the hosting cluster.
    #[must_use]
    pub fn helm(&self, helm: &Path) -> Command {
        let mut command = Command::new(helm);
        command
            .env("KUBECONFIG", self.host.kubeconfig())
            .args(["--namespace", &self.name]);
        command
    }

    /// `helm upgrade --install` with a file of values.
    #[must_use]
    pub fn install(&self, helm: &Path, values: &Path) -> Command {
        let mut command = self.helm(helm);
        command
            .args(["upgrade", "--install", &self.name])
            .arg(root().join("helm/sextant"))
            .args(["--create-namespace", "--values"])
            .arg(values);
        command
    }

    /// `sextant` as its administrator.
    #[must_use]
    pub fn sextant(&self) -> Command {
        let mut command = Command::new(bin().join("sextant"));
        command
            .args(["--hosted", &self.place(), "--kubeconfig"])
            .arg(self.host.kubeconfig())
            .arg("--state-dir")
            .arg(self.state());
        command
    }

    /// `sextant kubeconfig`, which writes [`Self::kubeconfig`].
    #[must_use]
    pub fn write_kubeconfig(&self) -> Command {
        let mut command = self.sextant();
        command
            .args(["kubeconfig", "--output-file"])
            .arg(self.kubeconfig());
        command
    }

    /// `sextant token create` for a node, whose JSON says how the node is started.
    #[must_use]
    pub fn create_token(&self, node: &str) -> Command {
        let mut command = self.sextant();
        command
            .args([
                "token",
                "create",
                "--output",
                "json",
                "--node",
                node,
                "--output-file",
            ])
            .arg(self.token(node));
        command
    }

    /// `kubectl` on the plane.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(bin().join("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// The command that starts a node, as [`Self::create_token`] said it, in the network in which the hosting cluster's
    /// nodes are, and with a mark by which it is found again.
    #[must_use]
    pub fn node(&self, run: &[String]) -> Command {
        let mut command = Command::new(run.first().map_or("docker", String::as_str));
        let (verb, flags) = run.get(1..).unwrap_or_default().split_at(1.min(run.len()));
        command
            .args(verb)
            .args(["--network", &format!("{}_nodes", self.host.name)])
            .args(self.labels().iter().flat_map(|label| ["--label", label]))
            .args(flags);
        command
    }

    /// Removes its nodes' containers, and with `volumes` what they keep.
    ///
    /// # Errors
    /// Docker can't be started, or refuses.
    pub fn remove_nodes(&self, volumes: bool) -> io::Result<()> {
        remove(&self.labels(), volumes)
    }

    fn labels(&self) -> Vec<String> {
        vec![
            self.host.hosting_label(),
            format!("dev.sextant.plane={}", self.name),
        ]
    }
}

impl Project {
    /// Removes the containers of all nodes of planes that it hosts, and with `volumes` what they keep.
    ///
    /// # Errors
    /// Docker can't be started, or refuses.
    pub fn remove_hosted_nodes(&self, volumes: bool) -> io::Result<()> {
        remove(&[self.hosting_label()], volumes)
    }

    fn hosting_label(&self) -> String {
        format!("dev.sextant.host={}", self.name)
    }

    /// The container of one of its nodes.
    ///
    /// # Errors
    /// Docker can't be started, or there is none.
    pub fn node(&self, service: &str) -> io::Result<String> {
        let label = format!("label=com.docker.compose.service={service}");
        let found = docker(&[
            "ps",
            "--quiet",
            "--filter",
            &self.filter(),
            "--filter",
            &label,
        ])?;
        match found.lines().next() {
            Some(id) => Ok(id.to_owned()),
            None => Err(io::Error::other(format!(
                "{service} of project {} doesn't run",
                self.name
            ))),
        }
    }

    /// The address of a node in the network of the nodes.
    ///
    /// # Errors
    /// Docker can't be started, or it doesn't run.
    pub fn node_address(&self, service: &str) -> io::Result<String> {
        let format = format!(
            "{{{{(index .NetworkSettings.Networks \"{}_nodes\").IPAddress}}}}",
            self.name
        );
        docker(&["inspect", "--format", &format, &self.node(service)?])
    }

    /// Copies images of this machine to a node that doesn't have them; those it has aren't sent again.
    ///
    /// # Errors
    /// Docker can't be started, an image isn't there, or the node's containerd refuses.
    pub fn load(&self, service: &str, images: &[String]) -> io::Result<()> {
        let node = self.node(service)?;
        let ctr = [
            "exec",
            &node,
            "ctr",
            "--namespace",
            "k8s.io",
            "images",
            "list",
        ];
        let known = docker(&ctr)?;
        let mut missing = Vec::new();
        for image in images {
            let format = "{{.Id}}";
            let id = docker(&["image", "inspect", "--format", format, image])?;
            // CRI gives each image a second name, the digest of its configuration: Docker's id.
            let same = known.lines().any(|line| line.starts_with(&id));
            let named = known
                .lines()
                .any(|line| line.starts_with(&format!("docker.io/{image} ")));
            if !(same && named) {
                missing.push(image.as_str());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut save = Command::new("docker")
            .arg("save")
            .args(&missing)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let archive = save.stdout.take().map_or(Stdio::null(), Stdio::from);
        let import = [
            "exec",
            "--interactive",
            &node,
            "ctr",
            "--namespace",
            "k8s.io",
            "images",
            "import",
            "-",
        ];
        let loaded = Command::new("docker")
            .args(import)
            .stdin(archive)
            .output()?;
        let saved = save.wait()?;
        if !saved.success() || !loaded.status.success() {
            let said = String::from_utf8_lossy(&loaded.stderr);
            return Err(io::Error::other(format!(
                "loading {missing:?} into {service}: {}",
                said.trim()
            )));
        }
        Ok(())
    }
}

/// Removes the nodes that have all these labels.
fn remove(labels: &[String], volumes: bool) -> io::Result<()> {
    let mut list = vec!["ps", "--all", "--format", "{{.Names}}"];
    let filters: Vec<_> = labels
        .iter()
        .map(|label| format!("label={label}"))
        .collect();
    for filter in &filters {
        list.extend(["--filter", filter]);
    }
    for name in docker(&list)?.lines() {
        docker(&["rm", "--force", name])?;
        for ending in ["", "-containerd", "-kubelet", "-log"] {
            if volumes {
                docker(&["volume", "rm", "--force", &format!("{name}{ending}")])?;
            }
        }
    }
    Ok(())
}

fn docker(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "docker {}: {}",
            arguments.join(" "),
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane() -> Plane {
        Plane {
            host: Project {
                name: "sextant".to_owned(),
                api_port: 6443,
                join_port: 9443,
                observed: None,
            },
            name: "tenant-a".to_owned(),
            api_port: 30443,
            join_port: 30943,
        }
    }

    #[test]
    fn values_name_ports_and_address() {
        let values = plane().values("192.0.2.7");
        assert!(
            values.contains("\n  apiserver:\n    endpoint: 192.0.2.7:30443\n"),
            "{values}"
        );
        assert!(
            values.contains("\n  supervisor:\n    endpoint: 192.0.2.7:30943\n"),
            "{values}"
        );
    }

    #[test]
    fn a_node_is_started_as_it_was_printed_in_the_network_of_the_nodes() {
        let run = ["docker", "run", "--name", "n", "image"].map(str::to_owned);
        let command = plane().node(&run);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(
            words,
            [
                "run",
                "--network",
                "sextant_nodes",
                "--label",
                "dev.sextant.host=sextant",
                "--label",
                "dev.sextant.plane=tenant-a",
                "--name",
                "n",
                "image"
            ]
        );
    }
}
