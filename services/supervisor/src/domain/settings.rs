//! What nodes are told, derived from the cluster's configuration.

use super::cluster::ClusterConfig;
use sextant_proto::supervisor::{NodeSettings, Vxlan};

/// The settings that every node gets.
pub fn node_settings(cluster: &ClusterConfig) -> NodeSettings {
    let kubelet_config = if cluster.kubelet.is_empty() {
        String::new()
    } else {
        serde_json::Value::Object(cluster.kubelet.clone()).to_string()
    };
    NodeSettings {
        cluster_name: cluster.name.clone(),
        cluster_domain: cluster.networks.cluster_domain.clone(),
        cluster_dns: cluster.networks.cluster_dns.to_string(),
        service_cidr: cluster.networks.service_cidr.to_string(),
        cluster_cidr: cluster.networks.cluster_cidr.to_string(),
        api_address: cluster.api.node_address.to_string(),
        api_port: cluster.api.port.into(),
        api_servers: cluster.api.servers.clone(),
        supervisors: cluster.supervisors.clone(),
        vxlan: Some(Vxlan {
            vni: cluster.networks.vxlan_vni,
            port: cluster.networks.vxlan_port.into(),
        }),
        network_policy: cluster.network_policy,
        kubelet_config,
        sandbox_image: cluster.images.sandbox.clone(),
    }
}
