//! The files and command lines of the three children.

use crate::config::{Checked, Config, text};
use crate::domain::containerd::Containerd;
use crate::domain::kubelet::{Kubelet, kubeconfig};
use crate::domain::kubeproxy::KubeProxy;
use crate::domain::resolv::{Plan, Resolv};
use crate::error::Error;
use crate::store::{Purpose, State, write_if_changed};
use crate::telemetry;
use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde_json::{Map, Value};
use sextant_proto::supervisor::NodeSettings;
use sextant_runner::child::Spec;
use sextant_runner::relay::tracing;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Sandbox image until the cluster's settings name it; the baked images hold it.
const SANDBOX_IMAGE: &str = "sextant/pause:3.10.2";
/// CAP_SYS_RESOURCE's bit.
const SYS_RESOURCE: u32 = 24;

/// Renders what the children read.
#[derive(Clone, Debug)]
pub(super) struct Files<'a> {
    pub(super) config: &'a Config,
    pub(super) checked: &'a Checked,
    pub(super) state: &'a State,
    pub(super) traced: bool,
}

impl Files<'_> {
    /// containerd, which can start before the node has joined.
    pub(super) fn containerd(&self, settings: Option<&NodeSettings>) -> Result<Spec, Error> {
        let config = self.config;
        let named = settings
            .map(|s| s.sandbox_image.clone())
            .filter(|image| !image.is_empty());
        let content = Containerd {
            root: text(&config.containerd_root),
            state: text(&config.containerd_state),
            socket: text(&config.containerd_socket()),
            sandbox_image: named.unwrap_or_else(|| SANDBOX_IMAGE.to_owned()),
            cni_conf: text(&config.cni_conf_dir()),
            cni_bin: text(&config.cni_bin_dir),
            restrict_oom_score: !has_capability(SYS_RESOURCE),
        }
        .render();
        let path = self.write("containerd.toml", &content)?;
        let arguments = ["--config".to_owned(), text(&path)];
        let spec = self.spec("containerd", &arguments, &content);
        let environment = telemetry::of_containerd(config, self.checked.name.as_str());
        Ok(match self.traced {
            true => environment
                .into_iter()
                .fold(spec, |spec, (name, value)| spec.env(name, value)),
            false => spec,
        })
    }

    /// The kubelet and kube-proxy of a node that has joined.
    pub(super) fn kubernetes(
        &self,
        settings: &NodeSettings,
        address: IpAddr,
    ) -> Result<(Spec, Spec), Error> {
        let server = format!("https://{}:{}", settings.api_address, settings.api_port);
        Ok((
            self.kubelet(settings, address, &server)?,
            self.kube_proxy(settings, &server)?,
        ))
    }

    fn kubelet(
        &self,
        settings: &NodeSettings,
        address: IpAddr,
        server: &str,
    ) -> Result<Spec, Error> {
        let config = self.config;
        let plan = resolver(settings)?;
        let resolv_conf = self.write("resolv.conf", &plan.pods.render())?;
        let kubelet = Kubelet {
            name: self.checked.name.to_string(),
            address,
            cluster_dns: settings.cluster_dns.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            client_ca: text(&self.state.cluster_client_ca()),
            serving_pem: text(&self.state.pem(Purpose::KubeletServing)),
            resolv_conf: text(&resolv_conf),
            runtime_endpoint: format!("unix://{}", text(&config.containerd_socket())),
            volume_plugins: text(&config.kubelet_root.join("volume-plugins")),
            cgroup_v1: is_cgroup_v1()?,
            measure_storage: config.measure_storage,
            system_reserved: config.system_reserved.clone(),
            taints: self.checked.taints.clone(),
            tracing: self.traced.then(|| tracing(&config.telemetry_socket())),
            extra: fragment(&settings.kubelet_config)?,
        };
        let content = format!("{:#}\n", kubelet.configuration());
        let file = self.write("kubelet.json", &content)?;
        let kubeconfig = self.kubeconfig("kubelet.kubeconfig", server, Purpose::KubeletClient)?;
        let mut arguments = vec![
            format!("--config={}", text(&file)),
            format!("--hostname-override={}", self.checked.name),
            format!("--kubeconfig={}", text(&kubeconfig)),
            format!("--node-ip={address}"),
            format!("--root-dir={}", text(&config.kubelet_root)),
        ];
        if !config.labels.is_empty() {
            let labels: Vec<_> = config
                .labels
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            arguments.push(format!("--node-labels={}", labels.join(",")));
        }
        Ok(self.spec("kubelet", &arguments, &content))
    }

    fn kube_proxy(&self, settings: &NodeSettings, server: &str) -> Result<Spec, Error> {
        let kubeconfig = self.kubeconfig("kube-proxy.kubeconfig", server, Purpose::KubeProxy)?;
        let configuration = KubeProxy {
            name: self.checked.name.to_string(),
            cluster_cidr: settings.cluster_cidr.clone(),
            kubeconfig: text(&kubeconfig),
        }
        .configuration();
        let content = format!("{configuration:#}\n");
        let file = self.write("kube-proxy.json", &content)?;
        Ok(self.spec(
            "kube-proxy",
            &[format!("--config={}", text(&file))],
            &content,
        ))
    }

    fn kubeconfig(&self, name: &str, server: &str, client: Purpose) -> Result<PathBuf, Error> {
        let ca = text(&self.state.cluster_server_ca());
        let content = kubeconfig(server, &ca, &text(&self.state.pem(client)));
        self.write(name, &format!("{content:#}\n"))
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.config.rendered().join(name);
        write_if_changed(&path, content.as_bytes())?;
        Ok(path)
    }

    /// The fingerprint makes a process with another configuration another process: it is restarted, not adopted.
    fn spec(&self, name: &str, arguments: &[String], content: &str) -> Spec {
        let mut spec = Spec::new(name, self.config.bin_dir.join(name))
            .arguments(arguments)
            .env("CONFIGURATION_SHA256", sha256(content.as_bytes()))
            .grace(Duration::from_secs(10))
            .restart(Duration::from_millis(200), Duration::from_secs(20))
            .survives(self.config.children());
        spec.stable_after = Duration::from_secs(30);
        spec
    }
}

/// What pods are told about DNS, and what this node forwards for them.
pub(crate) fn resolver(settings: &NodeSettings) -> Result<Plan, Error> {
    let path = "/etc/resolv.conf";
    let content = std::fs::read_to_string(path).map_err(|e| Error::file("reading", path, e))?;
    let api: IpAddr = settings.api_address.parse().map_err(|_| {
        Error::Config(format!(
            "settings.api_address `{}` is no address",
            settings.api_address
        ))
    })?;
    Ok(Resolv::parse(&content).plan(api))
}

fn fragment(json: &str) -> Result<Map<String, Value>, Error> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(json).map_err(|e| {
        Error::Config(format!(
            "the cluster's kubelet_config is no JSON object: {e}"
        ))
    })
}

fn is_cgroup_v1() -> Result<bool, Error> {
    let path = "/sys/fs/cgroup";
    let kind = statfs(path).map_err(|e| Error::file("looking at", path, e.into()))?;
    Ok(kind.filesystem_type() != CGROUP2_SUPER_MAGIC)
}

fn has_capability(bit: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << bit) != 0)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn sha256(content: &[u8]) -> String {
    hex(digest(&SHA256, content).as_ref())
}
