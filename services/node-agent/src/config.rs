//! The agent's configuration.

use crate::domain::kubelet::Taint;
use crate::error::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::NodeName;
use sextant_kit::config::{Common, HasCommon};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Everything the agent can be told. The rest comes from the supervisor when the node joins.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Settings that every part has. The admin port is on loopback: pods and the node's neighbours have no business
    /// there.
    pub common: Common,
    /// The node's name, a DNS-1123 subdomain. Needed: it is never taken from the container.
    pub name: String,
    /// `host:port` of supervisors, for the join and until the cluster's settings name others.
    pub supervisors: Vec<String>,
    /// File that holds the join token; `-` reads it from standard input once.
    pub token_file: PathBuf,
    /// The node's address, for kubelet and the overlay. Unset, it is the address that reaches the supervisor.
    pub node_ip: Option<IpAddr>,
    /// Labels of a new node.
    pub labels: BTreeMap<String, String>,
    /// Taints of a new node: `key=value:Effect` or `key:Effect`.
    pub taints: Vec<String>,
    /// Resources kept for the system, e.g. `memory: 200Mi`.
    pub system_reserved: BTreeMap<String, String>,
    /// Whether the kubelet measures and limits ephemeral storage; off where the disk can't be measured.
    pub measure_storage: bool,
    /// Whether host ports, overlay and Services are set up here; off only where something else does it.
    pub manage_network: bool,
    /// Folder of identity and last configuration, on a volume.
    pub state_dir: PathBuf,
    /// Folder of sockets and rendered files, on a tmpfs.
    pub run_dir: PathBuf,
    /// Folders whose `*.tar` are imported at start.
    pub image_dirs: Vec<PathBuf>,
    /// Folders whose `*.tar` are imported once the kubelet runs: no node waits for them.
    pub late_image_dirs: Vec<PathBuf>,
    /// Folder of containerd, ctr, kubelet and kube-proxy.
    pub bin_dir: PathBuf,
    /// Folder of the CNI plugins.
    pub cni_bin_dir: PathBuf,
    /// containerd's root, on a volume.
    pub containerd_root: PathBuf,
    /// containerd's state, on a tmpfs.
    pub containerd_state: PathBuf,
    /// kubelet's root, on a volume.
    pub kubelet_root: PathBuf,
    /// netpol-controller's socket.
    pub policy_socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let common = Common {
            admin_listen: (Ipv4Addr::LOCALHOST, 9090).into(),
            drain_seconds: 3,
            ..Common::default()
        };
        Self {
            common,
            name: String::new(),
            supervisors: vec!["edge:9443".into()],
            token_file: "/join/token".into(),
            node_ip: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            system_reserved: BTreeMap::from([("memory".into(), "200Mi".into())]),
            measure_storage: true,
            manage_network: true,
            state_dir: "/var/lib/sextant".into(),
            run_dir: "/run/sextant".into(),
            image_dirs: vec![
                "/usr/share/sextant/images".into(),
                "/var/lib/sextant-images".into(),
            ],
            late_image_dirs: vec!["/usr/share/sextant/images/late".into()],
            bin_dir: "/usr/bin".into(),
            cni_bin_dir: "/opt/cni/bin".into(),
            containerd_root: "/var/lib/containerd".into(),
            containerd_state: "/run/containerd".into(),
            kubelet_root: "/var/lib/kubelet".into(),
            policy_socket: "/run/sextant-netpol/netpol.sock".into(),
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The values that need more than their type, checked once.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The node's name.
    pub name: NodeName,
    /// Taints of a new node.
    pub taints: Vec<Taint>,
}

impl Config {
    /// Parses what needs more than its type.
    pub fn check(&self) -> Result<Checked, Error> {
        if self.name.is_empty() {
            return Err(Error::Config(
                "`name` is not set: give the node's name, e.g. SEXTANT_NAME=node-1".into(),
            ));
        }
        let name = self
            .name
            .parse()
            .map_err(|e| Error::Config(format!("`name`: {e}")))?;
        if self.supervisors.is_empty() {
            return Err(Error::Config(
                "`supervisors` is empty: give at least one host:port".into(),
            ));
        }
        let taints = self.taints.iter().map(|text| {
            Taint::parse(text).ok_or_else(|| {
                Error::Config(format!(
                    "`taints`: `{text}` is not key=value:Effect with a known effect"
                ))
            })
        });
        Ok(Checked {
            name,
            taints: taints.collect::<Result<_, _>>()?,
        })
    }

    /// The agent's own socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("node.sock")
    }

    /// Where containerd, kubelet and the CNI plugin tell what they do.
    pub fn telemetry_socket(&self) -> PathBuf {
        self.run_dir.join("otlp.sock")
    }

    /// Where netpol-controller tells what it does: beside its own socket.
    pub fn policy_telemetry_socket(&self) -> PathBuf {
        self.policy_socket.with_file_name("otlp.sock")
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.containerd_state.join("containerd.sock")
    }

    /// Folder of rendered files.
    pub fn rendered(&self) -> PathBuf {
        self.run_dir.join("etc")
    }

    /// Folder of the CNI configuration list.
    pub fn cni_conf_dir(&self) -> PathBuf {
        self.run_dir.join("cni/net.d")
    }

    /// Folder of address leases.
    pub fn cni_leases(&self) -> PathBuf {
        self.run_dir.join("cni/leases")
    }

    /// Folder of the children's pid files.
    pub fn children(&self) -> PathBuf {
        self.run_dir.join("children")
    }
}

/// A path as text for files and arguments; our paths come from text.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_needed() {
        let error = Config::default().check().unwrap_err().to_string();
        assert!(error.contains("SEXTANT_NAME"), "{error}");
        let named = Config {
            name: "node-1".into(),
            ..Config::default()
        };
        assert_eq!(named.check().unwrap().name.as_str(), "node-1");
        let wrong = Config {
            name: "Node_1".into(),
            ..Config::default()
        };
        assert!(wrong.check().unwrap_err().to_string().contains("DNS-1123"));
    }

    #[test]
    fn the_admin_port_stays_on_the_node() {
        let listen = Config::default().common.admin_listen;
        assert_eq!(listen.to_string(), "127.0.0.1:9090");
    }

    #[test]
    fn a_wrong_taint_is_named() {
        let config = Config {
            name: "a".into(),
            taints: vec!["x=y".into()],
            ..Config::default()
        };
        assert!(config.check().unwrap_err().to_string().contains("`x=y`"));
    }
}
