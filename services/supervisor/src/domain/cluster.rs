//! The wanted cluster: the one typed configuration that everything else is computed from.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Version of the Kubernetes components in the images.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// What an operator wants the cluster to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name of the cluster, shown to people and used as kubeconfig context.
    pub name: String,
    /// Address plan of pods and Services.
    pub networks: Networks,
    /// Where the Kubernetes API is, seen from inside and outside.
    pub api: Api,
    /// `host:port` of the supervisors' public listener, as nodes reach it.
    pub supervisors: Vec<String>,
    /// Nodes that the deployment itself brings: each gets a join token in its private volume.
    pub nodes: Vec<String>,
    /// Whether Sextant's own controller enforces NetworkPolicy.
    pub network_policy: bool,
    /// Add-ons that a cluster may do without.
    pub addons: Addons,
    /// Defaults of Pod Security Admission.
    pub pod_security: PodSecurity,
    /// What kube-apiserver writes to its audit log.
    pub audit: Audit,
    /// Additional or overriding flags of the Kubernetes components, names without `--`.
    pub extra_args: ExtraArgs,
    /// Images that the nodes hold.
    pub images: Images,
    /// etcd endpoint of datastore-proxy, as kube-apiserver dials it.
    pub datastore: String,
    /// Additional kubelet settings, a KubeletConfiguration fragment.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub kubelet: serde_json::Map<String, serde_json::Value>,
    /// How many days after its last certificates a node may come back without a new token.
    pub rejoin_window_days: u32,
    /// How long the lease of a leading kube-controller-manager or kube-scheduler stands that isn't renewed, in seconds. With 3
    /// another replica takes over within 5 s; twice as long costs half the writes, of which there are 2.5 a second each.
    pub leader_lease_seconds: u32,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: "sextant".into(),
            networks: Networks::default(),
            api: Api::default(),
            supervisors: vec!["edge:9443".into()],
            nodes: vec!["node-1".into(), "node-2".into()],
            network_policy: true,
            addons: Addons::default(),
            pod_security: PodSecurity::default(),
            audit: Audit::default(),
            extra_args: ExtraArgs::default(),
            images: Images::default(),
            datastore: "https://datastore-proxy:2379".into(),
            kubelet: serde_json::Map::new(),
            rejoin_window_days: 30,
            leader_lease_seconds: 3,
        }
    }
}

/// Address plan of pods and Services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Networks {
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// The network all pods' networks are cut from.
    #[schemars(with = "String")]
    pub cluster_cidr: IpNet,
    /// Network of the Services' addresses.
    #[schemars(with = "String")]
    pub service_cidr: IpNet,
    /// Address of the cluster's DNS Service.
    pub cluster_dns: IpAddr,
    /// VXLAN network identifier of the overlay between nodes.
    pub vxlan_vni: u32,
    /// UDP port of the overlay.
    pub vxlan_port: u16,
}

impl Default for Networks {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".into(),
            cluster_cidr: IpNet::new_assert(Ipv4Addr::new(10, 244, 0, 0).into(), 16),
            service_cidr: IpNet::new_assert(Ipv4Addr::new(10, 96, 0, 0).into(), 16),
            cluster_dns: Ipv4Addr::new(10, 96, 0, 10).into(),
            vxlan_vni: 4097,
            vxlan_port: 8472,
        }
    }
}

/// Where the Kubernetes API is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address every node offers the API on; pods and the Service `kubernetes` end there.
    pub node_address: IpAddr,
    /// Port of the API, everywhere.
    pub port: u16,
    /// `host:port` of API servers or the balancers before them, as nodes reach them.
    pub servers: Vec<String>,
    /// URL for kubeconfigs, as people reach the API from outside.
    pub public_url: String,
    /// `host:port` under which this supervisor reaches the API servers.
    pub internal: String,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            node_address: Ipv4Addr::new(192, 0, 2, 1).into(),
            port: 6443,
            servers: vec!["edge:6443".into()],
            public_url: "https://127.0.0.1:6443".into(),
            internal: "kube-apiserver:6443".into(),
        }
    }
}

/// Add-ons that a cluster may do without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Addons {
    /// Whether local-path-provisioner gives volumes in a folder of their node, by the default StorageClass `local-path`.
    pub local_path: bool,
    /// Whether metrics-server tells what nodes and pods use: for `kubectl top` and autoscalers.
    pub metrics_server: bool,
}

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurityLevel {
    /// Prevents known privilege escalations.
    Baseline,
    /// No restriction.
    Privileged,
    /// Current hardening practice.
    Restricted,
}

/// Defaults of Pod Security Admission for namespaces without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PodSecurity {
    /// Pods below this level are refused.
    pub enforce: PodSecurityLevel,
    /// Pods below this level are noted in the audit log.
    pub audit: PodSecurityLevel,
    /// Users who make pods below this level are warned.
    pub warn: PodSecurityLevel,
    /// Namespaces that no level applies to.
    pub exempt_namespaces: Vec<String>,
}

impl Default for PodSecurity {
    fn default() -> Self {
        Self {
            enforce: PodSecurityLevel::Baseline,
            audit: PodSecurityLevel::Restricted,
            warn: PodSecurityLevel::Restricted,
            exempt_namespaces: vec!["kube-system".into()],
        }
    }
}

/// kube-apiserver's audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Whether there is an audit log.
    pub enabled: bool,
    /// `rules` of an `audit.k8s.io/v1` Policy; empty takes Sextant's own.
    pub rules: Vec<serde_json::Value>,
    /// MiB before the file is rotated.
    pub max_size_mib: u32,
    /// Rotated files to keep.
    pub max_backups: u32,
    /// Days to keep rotated files.
    pub max_age_days: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            rules: Vec::new(),
            max_size_mib: 50,
            max_backups: 5,
            max_age_days: 30,
        }
    }
}

/// Additional flags by component, names without `--`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtraArgs {
    /// Flags of kube-apiserver.
    pub kube_apiserver: BTreeMap<String, String>,
    /// Flags of kube-controller-manager.
    pub kube_controller_manager: BTreeMap<String, String>,
    /// Flags of kube-scheduler.
    pub kube_scheduler: BTreeMap<String, String>,
}

/// Images that the nodes hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// The sandbox ("pause") image.
    pub sandbox: String,
    /// The cluster's DNS server.
    pub coredns: String,
    /// The NetworkPolicy controller.
    pub netpol_controller: String,
    /// What makes volumes in a folder of their node.
    pub local_path_provisioner: String,
    /// What tells how much nodes and pods use.
    pub metrics_server: String,
    /// A shell: what makes and removes the folders of volumes.
    pub toolbox: String,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            sandbox: "sextant/pause:3.10.2".into(),
            coredns: "sextant/coredns:v1.15.0".into(),
            netpol_controller: concat!("sextant/netpol-controller:", env!("CARGO_PKG_VERSION"))
                .into(),
            local_path_provisioner: "sextant/local-path-provisioner:v0.0.30".into(),
            metrics_server: "sextant/metrics-server:v0.9.0".into(),
            toolbox: concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

impl ClusterConfig {
    /// First address of the service network: the Service `default/kubernetes`.
    pub fn api_service_address(&self) -> Option<IpAddr> {
        self.networks.service_cidr.hosts().next()
    }

    /// Issuer of ServiceAccount tokens.
    pub fn service_account_issuer(&self) -> String {
        format!(
            "https://kubernetes.default.svc.{}",
            self.networks.cluster_domain
        )
    }

    /// Checks what types alone can't.
    ///
    /// # Errors
    /// One sentence per problem, joined.
    pub fn validate(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        let nets = &self.networks;
        let overlap = nets.cluster_cidr.contains(&nets.service_cidr)
            || nets.service_cidr.contains(&nets.cluster_cidr);
        if overlap {
            problems.push(format!(
                "networks.cluster_cidr {} and networks.service_cidr {} overlap: choose two separate networks",
                nets.cluster_cidr, nets.service_cidr
            ));
        }
        if !nets.service_cidr.contains(&nets.cluster_dns) {
            problems.push(format!(
                "networks.cluster_dns {} is outside networks.service_cidr {}",
                nets.cluster_dns, nets.service_cidr
            ));
        }
        if Some(nets.cluster_dns) == self.api_service_address() {
            problems.push(format!(
                "networks.cluster_dns {} is the address of the Service kubernetes: choose another",
                nets.cluster_dns
            ));
        }
        let api = self.api.node_address;
        if nets.cluster_cidr.contains(&api) || nets.service_cidr.contains(&api) || api.is_loopback()
        {
            problems.push(format!(
                "api.node_address {api} must be outside the pods' and Services' networks and not loopback"
            ));
        }
        if !(1..=60).contains(&self.leader_lease_seconds) {
            problems.push(format!(
                "leader_lease_seconds {} isn't from 1 to 60",
                self.leader_lease_seconds
            ));
        }
        let unique: BTreeSet<_> = self.nodes.iter().collect();
        if unique.len() != self.nodes.len() {
            problems.push("nodes names a node twice".into());
        }
        for name in &self.nodes {
            if let Err(problem) = super::membership::check_node_name(name, self) {
                problems.push(format!("nodes: {problem}"));
            }
        }
        if !self.datastore.starts_with("https://") {
            problems.push(format!(
                "datastore {:?} must be an https:// URL",
                self.datastore
            ));
        }
        if !self.api.public_url.starts_with("https://") {
            problems.push(format!(
                "api.public_url {:?} must be an https:// URL",
                self.api.public_url
            ));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(ClusterConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_problem_is_named() {
        let mut config = ClusterConfig::default();
        config.networks.service_cidr = "10.244.8.0/24".parse().unwrap();
        config.nodes = vec!["node-1".into(), "node-1".into(), "kubernetes".into()];
        config.api.node_address = "127.0.0.1".parse().unwrap();
        let error = config.validate().unwrap_err();
        for part in [
            "overlap",
            "outside networks.service_cidr",
            "twice",
            "kubernetes",
            "loopback",
        ] {
            assert!(error.contains(part), "{part} missing in {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<ClusterConfig>(r#"{"nodse": []}"#).unwrap_err();
        assert!(error.to_string().contains("nodse"));
    }
}
