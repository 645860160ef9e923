//! What the runner can be told.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::EnrollConfig;
use sextant_kit::config::{Common, HasCommon};

pub use crate::domain::component::Component;

/// Configuration of `runner serve`, `runner collector` and `runner edge`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Settings that every part has.
    pub common: Common,
    /// The upstream component in this image.
    pub component: Component,
    /// Path of its program; `/usr/local/bin/<component>` when not set.
    pub program: Option<PathBuf>,
    /// Address of the gRPC listener: the supervisor changes there what this process logs and exports.
    pub listen: SocketAddr,
    /// Where to enrol.
    pub enroll: EnrollConfig,
    /// `host:port` of the supervisor, which knows the component's flags and files.
    pub supervisor: String,
    /// `host:port` of token-service, which signs ServiceAccount tokens (kube-apiserver only).
    pub token_service: String,
    /// The address that takes the place of `{{ADVERTISE_ADDRESS}}` in flags; when not set, the one from which the
    /// supervisor is reached.
    pub advertise_address: Option<IpAddr>,
    /// Keys, certificates, files and sockets of the component: a tmpfs of this user alone, or a pod's `emptyDir` in memory.
    pub run_folder: PathBuf,
    /// The last configuration and public keys, for starts without supervisor and token-service; takes the place of
    /// `{{STATE_FOLDER}}` in flags. Replicas may share it: each but the first then uses a folder of its own in it.
    pub state_folder: PathBuf,
    /// How long a start waits for supervisor and token-service before it takes what was kept, in seconds.
    pub patience_seconds: u64,
    /// How long the component may take to end after SIGTERM, in seconds.
    pub grace_seconds: u64,
    /// How much garbage the component may keep, in percent of the memory that it uses, before it is collected (Go's
    /// `GOGC`): less takes less memory and more processor time. When not set, Go's own 100.
    pub gogc: Option<u16>,
    /// Settings of `runner collector`.
    pub collector: Collector,
    /// Settings of `runner edge`.
    pub edge: Edge,
}

/// The OpenTelemetry Collector as a member of the mesh.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collector {
    /// Its configuration; the certificates that it may name are `pki/collector.pem` (with the key) and `pki/mesh-ca.pem`
    /// in `run_folder`.
    pub configuration: PathBuf,
    /// Path of its program.
    pub program: PathBuf,
}

/// The balancer in front of the control plane.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// What listens, and where its connections go.
    pub listeners: Vec<Listener>,
    /// Connections at a time, for each listener.
    pub max_connections: usize,
}

/// One port of the edge.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// `host:port`; connections are spread over all addresses of the name.
    pub upstream: String,
    /// Port at which each of these addresses answers `/readyz` over plain HTTP. Connections go where that says 200, as
    /// long as it does anywhere. Not asked when not set.
    #[serde(default)]
    pub ready_port: Option<u16>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Stopping takes as long as the component takes.
            common: Common {
                drain_seconds: 30,
                ..Common::default()
            },
            component: Component::KubeApiserver,
            program: None,
            listen: (Ipv4Addr::UNSPECIFIED, 7443).into(),
            enroll: EnrollConfig::default(),
            supervisor: "supervisor:7443".to_owned(),
            token_service: "token-service:7443".to_owned(),
            advertise_address: None,
            run_folder: "/run/sextant".into(),
            state_folder: "/var/lib/sextant".into(),
            patience_seconds: 15,
            grace_seconds: 15,
            gogc: None,
            collector: Collector::default(),
            edge: Edge::default(),
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            configuration: "/etc/collector/collector.yaml".into(),
            program: "/usr/local/bin/collector".into(),
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        let listener = |port: u16, upstream: &str| Listener {
            listen: ([0, 0, 0, 0], port).into(),
            upstream: upstream.to_owned(),
            ready_port: Some(9090),
        };
        Self {
            listeners: vec![
                listener(6443, "kube-apiserver:6443"),
                listener(9443, "supervisor:9443"),
            ],
            max_connections: 4096,
        }
    }
}

impl Config {
    /// Path of the component's program.
    pub fn program(&self) -> PathBuf {
        let default = || PathBuf::from("/usr/local/bin").join(self.component.name());
        self.program.clone().unwrap_or_else(default)
    }

    /// The component's files, as the supervisor wants them.
    pub(crate) fn files_folder(&self) -> PathBuf {
        self.run_folder.join("config")
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}
