//! All nodes as one value: what the registry and the Kubernetes API know, put together.

use super::cluster::ClusterConfig;
use super::routing::RoutingTable;
use super::settings::node_settings;
use crate::store::mirror::State;
use sextant_proto::supervisor::{NodeConfig, Peer};
use std::collections::BTreeMap;

/// A node as the Kubernetes API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeNode {
    /// `spec.podCIDR`; empty until kube-controller-manager has given one.
    pub pod_cidr: String,
    /// Its Ready condition.
    pub ready: bool,
    /// `status.nodeInfo.kubeletVersion`, as the kubelet says it.
    pub kubelet_version: String,
}

/// Nodes of the Kubernetes API by name.
pub type KubeNodes = BTreeMap<String, KubeNode>;

/// A registered node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetNode {
    /// Addresses that other nodes reach it by.
    pub addresses: Vec<String>,
    /// Its pod network, "" for none yet.
    pub pod_cidr: String,
    /// MAC of its VXLAN device.
    pub vtep_mac: String,
}

/// All registered nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By name.
    pub nodes: BTreeMap<String, FleetNode>,
    /// Whether the registry was ever read: before that, an absent node says nothing.
    pub known: bool,
}

impl Fleet {
    /// From the registry and the API. The registry keeps what the API last said, for when it is away.
    pub fn new(state: &State, kube: &KubeNodes) -> Self {
        let nodes = state.nodes.iter().map(|(name, versioned)| {
            let record = &versioned.value;
            let pod_cidr = kube
                .get(name)
                .map(|node| &node.pod_cidr)
                .filter(|cidr| !cidr.is_empty())
                .unwrap_or(&record.pod_cidr);
            let node = FleetNode {
                addresses: record.addresses.clone(),
                pod_cidr: pod_cidr.clone(),
                vtep_mac: record.vtep_mac.clone(),
            };
            (name.clone(), node)
        });
        Self {
            nodes: nodes.collect(),
            known: state.known,
        }
    }

    /// What `name` is told: the settings, its own pod network, and every other node that can be sent to.
    pub fn node_config(&self, cluster: &ClusterConfig, name: &str) -> NodeConfig {
        let peers = self
            .nodes
            .iter()
            .filter(|(peer, node)| {
                *peer != name && !node.pod_cidr.is_empty() && !node.addresses.is_empty()
            })
            .map(|(peer, node)| Peer {
                name: peer.clone(),
                addresses: node.addresses.clone(),
                pod_cidr: node.pod_cidr.clone(),
                vtep_mac: node.vtep_mac.clone(),
            });
        NodeConfig {
            settings: Some(node_settings(cluster)),
            pod_cidr: self
                .nodes
                .get(name)
                .map(|node| node.pod_cidr.clone())
                .unwrap_or_default(),
            peers: peers.collect(),
        }
    }

    /// Where connections of kube-apiserver go.
    pub fn routing_table(&self, cluster: &ClusterConfig) -> RoutingTable {
        RoutingTable {
            nodes: self
                .nodes
                .iter()
                .map(|(name, node)| (name.clone(), node.pod_cidr.parse().ok()))
                .collect(),
            service_cidr: cluster.networks.service_cidr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::membership::NodeRecord;
    use crate::store::Versioned;

    fn state(nodes: &[(&str, &str, &str)]) -> State {
        let record = |address: &str, cidr: &str| Versioned {
            value: NodeRecord {
                addresses: if address.is_empty() {
                    vec![]
                } else {
                    vec![address.into()]
                },
                pod_cidr: cidr.into(),
                ..NodeRecord::default()
            },
            revision: 1,
        };
        State {
            known: true,
            nodes: nodes
                .iter()
                .map(|(n, a, c)| ((*n).to_owned(), record(a, c)))
                .collect(),
            ..State::default()
        }
    }

    #[test]
    fn peers_are_the_others_that_can_be_reached() {
        let state = state(&[
            ("a", "172.18.0.2", "10.244.0.0/24"),
            ("b", "172.18.0.3", "10.244.1.0/24"),
            ("new", "172.18.0.4", ""),
            ("silent", "", "10.244.2.0/24"),
        ]);
        let config =
            Fleet::new(&state, &KubeNodes::new()).node_config(&ClusterConfig::default(), "a");
        assert_eq!(config.pod_cidr, "10.244.0.0/24");
        assert_eq!(
            config
                .peers
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[test]
    fn the_api_outranks_the_registry_when_it_says_something() {
        let state = state(&[("a", "x", "10.244.0.0/24"), ("b", "x", "10.244.1.0/24")]);
        let kube = [
            (
                "a".to_owned(),
                KubeNode {
                    pod_cidr: "10.244.7.0/24".into(),
                    ready: true,
                    ..KubeNode::default()
                },
            ),
            ("b".to_owned(), KubeNode::default()),
            (
                "stranger".to_owned(),
                KubeNode {
                    pod_cidr: "10.244.9.0/24".into(),
                    ready: true,
                    ..KubeNode::default()
                },
            ),
        ];
        let fleet = Fleet::new(&state, &kube.into());
        assert_eq!(fleet.nodes["a"].pod_cidr, "10.244.7.0/24");
        assert_eq!(fleet.nodes["b"].pod_cidr, "10.244.1.0/24");
        assert!(!fleet.nodes.contains_key("stranger"));
    }
}
