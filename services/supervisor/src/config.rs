//! What an operator can set.

use crate::domain::cluster::ClusterConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::EnrollConfig;
use sextant_kit::config::{Common, HasCommon};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Configuration of supervisor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every part has.
    pub common: Common,
    /// How this process gets its mesh identity.
    pub enroll: EnrollConfig,
    /// Address of the internal gRPC listener: runners and other supervisors.
    pub listen: SocketAddr,
    /// Address of the public listener: join API, node sessions, Admin.
    pub public_listen: SocketAddr,
    /// `ip:port` under which other supervisors reach the internal listener; empty finds it out.
    pub advertise: String,
    /// `host:port` of token-service.
    pub token_service: String,
    /// `host:port` of datastore-proxy.
    pub datastore: String,
    /// Folder with one private volume per node of `cluster.nodes`, for their join tokens.
    pub nodes_folder: PathBuf,
    /// The wanted cluster.
    pub cluster: ClusterConfig,
    /// Parts whose state `sextant status` shows.
    pub parts: Vec<Part>,
}

/// A part whose state is shown.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name to show.
    pub name: String,
    /// `host:port` of its admin port; every address of the name is asked.
    pub admin: String,
    /// `host:port` of its gRPC listener, over which `sextant log-level` and `sextant sampling` change its telemetry; every
    /// address of the name is told. Empty where it can't be changed.
    #[serde(default)]
    pub rpc: String,
}

impl Default for Config {
    fn default() -> Self {
        let parts = [
            "cert-authority",
            "token-service",
            "datastore-proxy",
            "supervisor",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
        ];
        let part = |name: &str| Part {
            name: name.to_owned(),
            admin: format!("{name}:9090"),
            rpc: match name {
                "datastore-proxy" => format!("{name}:2379"),
                _ => format!("{name}:7443"),
            },
        };
        Self {
            common: Common::default(),
            enroll: EnrollConfig::default(),
            listen: (Ipv4Addr::UNSPECIFIED, 7443).into(),
            public_listen: (Ipv4Addr::UNSPECIFIED, 9443).into(),
            advertise: String::new(),
            token_service: "token-service:7443".into(),
            datastore: "datastore-proxy:2379".into(),
            nodes_folder: "/nodes".into(),
            cluster: ClusterConfig::default(),
            parts: parts.map(part).into(),
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}
