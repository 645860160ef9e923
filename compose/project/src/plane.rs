//! A control plane that a cluster of `compose.yaml` hosts: where its files lie, and the commands that drive it.

use crate::hosting::{NODES, remove};
use crate::{Project, bin, kubectl, out, root};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One hosted control plane: namespace and release are called alike.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The cluster that hosts it.
    pub host: Project,
    /// Name of its namespace and its release.
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
    fn values(&self, address: &str) -> String {
        let Self {
            name,
            api_port,
            join_port,
            ..
        } = self;
        let nodes = NODES.join(", ");
        format!(
            "fullnameOverride: {name}\n\
             image: {{pullPolicy: Never}}\n\
             # A node that was added by hand has none of the images.\n\
             defaults:\n  \
               affinity:\n    \
                 nodeAffinity:\n      \
                   requiredDuringSchedulingIgnoredDuringExecution:\n        \
                     nodeSelectorTerms:\n          \
                       - matchExpressions:\n              \
                           - {{key: kubernetes.io/hostname, operator: In, values: [{nodes}]}}\n\
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

    /// `helm upgrade --install` with these settings beyond those of a plane of the dev cluster; its file of values is
    /// written.
    ///
    /// # Errors
    /// The hosting cluster's first node doesn't run, or the file can't be written.
    pub fn install<S: AsRef<OsStr>>(&self, helm: &Path, set: &[S]) -> io::Result<Command> {
        let values = self.values_file();
        std::fs::write(&values, self.values(&self.host.node_address("node-1")?))?;
        let mut command = self.helm(helm);
        command
            .args(["upgrade", "--install", &self.name])
            .arg(root().join("helm/sextant"))
            .args(["--create-namespace", "--values"])
            .arg(values);
        for value in set {
            command.arg("--set").arg(value);
        }
        Ok(command)
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
        kubectl(&self.kubeconfig())
    }

    /// Name of a node's container, and what the names of its volumes begin with: two hosting clusters of this machine may
    /// have planes that are called alike.
    #[must_use]
    pub fn container(&self, node: &str) -> String {
        format!("{}-{node}", self.host.name)
    }

    /// The command that starts a node, out of the JSON of [`Self::create_token`]: in the network in which the hosting
    /// cluster's nodes are, with marks by which it is found again, and as [`Self::container`].
    ///
    /// # Errors
    /// The JSON doesn't say how a node is started.
    pub fn node(&self, token: &str) -> io::Result<Command> {
        let mut token: serde_json::Value = serde_json::from_str(token)?;
        let run: Vec<String> = serde_json::from_value(token["run"].take())?;
        let [program, verb, flags @ ..] = run.as_slice() else {
            return Err(io::Error::other(
                "a token without a command that starts a node",
            ));
        };
        let mut command = Command::new(program);
        command
            .arg(verb)
            .args(["--network", &format!("{}_nodes", self.host.name)])
            .args(self.labels().iter().flat_map(|label| ["--label", label]))
            .args(self.scoped(flags));
        Ok(command)
    }

    /// Flags of `docker run` with the container's and the volumes' own names.
    fn scoped(&self, flags: &[String]) -> Vec<String> {
        let named = flags.iter().position(|flag| flag == "--name");
        let node = named.and_then(|at| flags.get(at + 1)).cloned();
        let node = node.unwrap_or_default();
        let before = std::iter::once("").chain(flags.iter().map(String::as_str));
        let volume = |value: &str| {
            let rest = value.strip_prefix(&node);
            rest.is_some_and(|rest| rest.starts_with([':', '-']))
        };
        before
            .zip(flags)
            .map(|(flag, value)| match flag {
                "--name" => self.container(value),
                "--volume" if volume(value) => self.container(value),
                _ => value.clone(),
            })
            .collect()
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
    fn values_name_ports_address_and_the_nodes_that_have_the_images() {
        let values = plane().values("192.0.2.7");
        assert!(values.contains("values: [node-1, node-2]"), "{values}");
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
        let token = r#"{"id": "x", "run": ["docker", "run", "--name", "n", "--hostname", "n", "--volume", "/n:/join",
            "--volume", "n:/a", "--volume", "n-log:/b", "image"]}"#;
        let command = plane().node(token).unwrap();
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
                "sextant-n",
                "--hostname",
                "n",
                "--volume",
                "/n:/join",
                "--volume",
                "sextant-n:/a",
                "--volume",
                "sextant-n-log:/b",
                "image"
            ]
        );
    }
}
