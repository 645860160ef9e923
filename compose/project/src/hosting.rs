//! A cluster of `compose.yaml` that hosts control planes: its nodes' addresses, the images they have, and the node
//! containers of its planes.

use crate::Project;
use std::io;
use std::process::{Command, Stdio};

/// Images that a plane's pods run, beside the toolbox that every node has.
const IMAGES: [&str; 8] = [
    "cert-authority",
    "cli",
    "datastore-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "supervisor",
    "token-service",
];

/// The nodes that `compose.yaml` names.
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

impl Project {
    /// Gives its nodes the images that planes run.
    ///
    /// # Errors
    /// Docker can't be started, an image isn't there, or a node's containerd refuses.
    pub fn load_plane_images(&self) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let images = IMAGES.map(|image| format!("sextant/{image}:{version}"));
        NODES.iter().try_for_each(|node| self.load(node, &images))
    }

    /// Removes the containers of all nodes of planes that it hosts, and with `volumes` what they keep.
    ///
    /// # Errors
    /// Docker can't be started, or refuses.
    pub fn remove_hosted_nodes(&self, volumes: bool) -> io::Result<()> {
        remove(&[self.hosting_label()], volumes)
    }

    pub(crate) fn hosting_label(&self) -> String {
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
    fn load(&self, service: &str, images: &[String]) -> io::Result<()> {
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
pub(crate) fn remove(labels: &[String], volumes: bool) -> io::Result<()> {
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
