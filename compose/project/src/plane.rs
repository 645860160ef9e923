//! A control plane that a cluster of `compose.yaml` hosts: where its files lie, and the commands that drive it.

use crate::hosting::remove;
use crate::{Project, bin, out, root};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

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
