//! The pod network's configuration list.

use ipnet::IpNet;
use serde_json::{Value, json};

/// Name of the network; also the folder of host-local's leases.
pub const NETWORK: &str = "sextant";
/// Bytes that VXLAN over IPv4 takes from each packet.
pub const VXLAN_OVERHEAD: u32 = 50;

/// What the configuration list depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// This node's pod network.
    pub pod_cidr: IpNet,
    /// MTU of pods.
    pub mtu: u32,
    /// Whether a pod waits for netpol-controller.
    pub network_policy: bool,
    /// netpol-controller's socket.
    pub policy_socket: String,
    /// Folder of the address leases, on tmpfs.
    pub leases: String,
}

impl PodNetwork {
    /// The `.conflist`: every pod is a routed /32, host ports by nftables, and last the policy hook.
    pub fn conflist(&self) -> Value {
        let mut plugins = vec![
            json!({
                "type": "ptp",
                "mtu": self.mtu,
                // The agent's own table masquerades: this one would do so between the cluster's pods too.
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.leases,
                    "ranges": [[{ "subnet": self.pod_cidr.to_string() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }),
            json!({
                "type": "portmap",
                "backend": "nftables",
                "capabilities": { "portMappings": true },
            }),
        ];
        if self.network_policy {
            plugins.push(json!({ "type": "sextant-policy", "socket": self.policy_socket }));
        }
        json!({ "cniVersion": "1.0.0", "name": NETWORK, "plugins": plugins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_three_plugins_with_the_own_network_and_without_policy_two() {
        let mut network = PodNetwork {
            pod_cidr: "10.244.3.0/24".parse().unwrap(),
            mtu: 1450,
            network_policy: true,
            policy_socket: "/run/sextant-netpol/netpol.sock".into(),
            leases: "/run/sextant/cni".into(),
        };
        let list = network.conflist();
        let types: Vec<_> = list["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["type"])
            .collect();
        assert_eq!(types, ["ptp", "portmap", "sextant-policy"]);
        assert_eq!(
            list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "10.244.3.0/24"
        );
        assert_eq!(list["plugins"][0]["mtu"], 1450);
        assert_eq!(list["plugins"][0]["ipMasq"], false);
        assert_eq!(list["plugins"][1]["backend"], "nftables");
        assert_eq!(list["plugins"][2]["socket"], network.policy_socket);
        network.network_policy = false;
        let types = &network.conflist()["plugins"];
        assert_eq!(types.as_array().map(Vec::len), Some(2), "{types}");
    }
}
