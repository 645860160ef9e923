//! What the controller can be told.

use crate::domain::frame::Established;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_kit::config::{Common, HasCommon};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Configuration of netpol-controller.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What all parts have. The admin port is on loopback: the controller shares the node's network.
    pub common: Common,
    /// Name of the node whose pods are judged; empty takes the environment's `NODE_NAME`.
    pub node_name: String,
    /// The socket for the node's CNI plugin and for `explain`; root only.
    pub socket: PathBuf,
    /// Every how many seconds the kernel's table is compared with what it should be.
    pub resync_seconds: u64,
    /// How many seconds a new pod may wait for its policy before its start fails and is tried again; less than the
    /// CNI plugin waits, so that it hears the reason.
    pub ensure_seconds: u64,
    /// What happens to connections that a policy comes to forbid.
    pub established: Established,
    /// Namespace of the DaemonSet that runs the controller.
    pub daemon_set_namespace: String,
    /// Name of the DaemonSet. When it is gone, a stopping controller takes its table along.
    pub daemon_set: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common {
                admin_listen: (Ipv4Addr::LOCALHOST, 9091).into(),
                ..Common::default()
            },
            node_name: String::new(),
            socket: "/run/sextant-netpol/netpol.sock".into(),
            resync_seconds: 300,
            ensure_seconds: 4,
            established: Established::default(),
            daemon_set_namespace: "kube-system".into(),
            daemon_set: "netpol-controller".into(),
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl Config {
    /// The node's name, from the configuration or the pod's environment.
    pub fn node(&self) -> Result<String> {
        let configured = Some(self.node_name.clone()).filter(|name| !name.is_empty());
        configured
            .or_else(|| std::env::var("NODE_NAME").ok())
            .ok_or(Error::NoNodeName)
    }
}
