//! What each Kubernetes component of the control plane is told: flags and files, a pure function of the cluster.

mod apiserver;
mod controller_manager;
mod kubeconfig;
mod policies;
mod scheduler;

use super::cluster::ClusterConfig;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use sextant_proto::supervisor::{ComponentConfig, ComponentFile};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where the runner keeps keys, certificates and trust bundles.
const PKI: &str = "/run/sextant/pki";
/// Where the runner writes the files of a [`ComponentConfig`].
const CONFIG: &str = "/run/sextant/config";
/// TLS 1.2 suites with forward secrecy and AEAD for our ECDSA certificates; TLS 1.3 has its own.
const CIPHER_SUITES: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,\
TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";

/// How kube-controller-manager and kube-scheduler elect who works, as Go's durations.
struct Election {
    /// How long a lease stands that isn't renewed; client-go counts whole seconds.
    lease: String,
    /// How long the holder tries to renew before it gives up.
    deadline: String,
    /// Between renewals, and between looks of the others, who wait up to 2.2 times as long.
    retry: String,
}

impl Election {
    /// Of a lease of 3 s: another replica takes over within 5 s of the holder's death, since it sees the last renewal
    /// 0.88 s late at most, waits for the lease to run out, and looks again 0.88 s later at most. Upstream's defaults, a
    /// lease of 15 s in the same proportion of renewals, take up to 24 s.
    fn of(cluster: &ClusterConfig) -> Self {
        let lease = u64::from(cluster.leader_lease_seconds) * 1000;
        let millis = |millis: u64| format!("{millis}ms");
        Self {
            lease: format!("{}s", cluster.leader_lease_seconds),
            deadline: millis(lease * 5 / 6),
            retry: millis(lease * 2 / 15),
        }
    }
}

/// An upstream component of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// kube-apiserver
    ApiServer,
    /// kube-controller-manager
    ControllerManager,
    /// kube-scheduler
    Scheduler,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// Upstream's name, also the name of its runner's identity.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    /// The component of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|component| component.name() == name)
    }
}

/// The wanted configuration of a component.
pub fn component_config(cluster: &ClusterConfig, component: Component) -> ComponentConfig {
    let (mut flags, files) = match component {
        Component::ApiServer => apiserver::config(cluster),
        Component::ControllerManager => controller_manager::config(cluster),
        Component::Scheduler => scheduler::config(cluster),
    };
    let extra = match component {
        Component::ApiServer => &cluster.extra_args.kube_apiserver,
        Component::ControllerManager => &cluster.extra_args.kube_controller_manager,
        Component::Scheduler => &cluster.extra_args.kube_scheduler,
    };
    for (name, value) in extra {
        flags
            .0
            .insert(name.trim_start_matches("--").to_owned(), value.clone());
    }
    let arguments = flags.into_arguments();
    ComponentConfig {
        component: component.name().to_owned(),
        digest: digest(&arguments, &files),
        arguments,
        files,
        version: String::new(),
    }
}

/// Flags by name, so that each occurs once and the order is stable.
#[derive(Default)]
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn into_arguments(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect()
    }

    /// What every component serves HTTPS with.
    fn set_serving(&mut self, pair: &str) -> &mut Self {
        self.set("tls-cert-file", pki(&format!("{pair}.crt")))
            .set("tls-private-key-file", pki(&format!("{pair}.key")))
            .set("tls-min-version", "VersionTLS12")
            .set("tls-cipher-suites", CIPHER_SUITES)
            .set("profiling", "false")
            .set("bind-address", "0.0.0.0")
    }

    /// How kube-controller-manager and kube-scheduler judge requests to their own port. The bundles come as
    /// files, so that neither waits for kube-apiserver's ConfigMap before it can start.
    fn set_delegated_auth(&mut self) -> &mut Self {
        let kubeconfig = config_path("kubeconfig.yaml");
        self.set("authentication-kubeconfig", &kubeconfig)
            .set("authorization-kubeconfig", &kubeconfig)
            .set("authentication-skip-lookup", "true")
            .set("client-ca-file", pki("cluster-client-ca.pem"))
    }
}

fn pki(name: &str) -> String {
    format!("{PKI}/{name}")
}

fn config_path(name: &str) -> String {
    format!("{CONFIG}/{name}")
}

fn file(path: &str, content: &serde_json::Value, reloads: bool) -> ComponentFile {
    // JSON is YAML, and serializing a `Value` has a stable key order.
    let mut text = serde_json::to_string_pretty(content).unwrap_or_default();
    text.push('\n');
    ComponentFile {
        path: path.to_owned(),
        content: Bytes::from(text),
        reloads,
    }
}

/// SHA-256 over everything, each part with its length so that no two configurations collide.
fn digest(arguments: &[String], files: &[ComponentFile]) -> String {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    };
    add(&(arguments.len() as u64).to_be_bytes());
    for argument in arguments {
        add(argument.as_bytes());
    }
    for file in files {
        add(file.path.as_bytes());
        add(&file.content);
        add(&[u8::from(file.reloads)]);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
