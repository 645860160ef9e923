//! kube-proxy's configuration file.

use serde_json::{Value, json};

/// What the file depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxy {
    /// The node's name.
    pub name: String,
    /// The network all pods' networks are cut from.
    pub cluster_cidr: String,
    /// Its kubeconfig.
    pub kubeconfig: String,
}

impl KubeProxy {
    /// The `KubeProxyConfiguration`.
    pub fn configuration(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": { "kubeconfig": self.kubeconfig },
            "clusterCIDR": self.cluster_cidr,
            // The connection tracking table belongs to the machine, not to this container.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpCloseWaitTimeout": "0s",
                "tcpEstablishedTimeout": "0s",
            },
            "healthzBindAddress": "127.0.0.1:10256",
            "hostnameOverride": self.name,
            "logging": { "format": "text", "verbosity": 0 },
            "metricsBindAddress": "127.0.0.1:10249",
            "mode": "nftables",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_on_loopback_only_and_leaves_conntrack_alone() {
        let configuration = KubeProxy {
            name: "node-1".into(),
            cluster_cidr: "10.244.0.0/16".into(),
            kubeconfig: "/kube-proxy.kubeconfig".into(),
        }
        .configuration();
        assert_eq!(configuration["mode"], "nftables");
        assert_eq!(configuration["conntrack"]["maxPerCore"], 0);
        for listener in ["healthzBindAddress", "metricsBindAddress"] {
            assert!(
                configuration[listener]
                    .as_str()
                    .unwrap()
                    .starts_with("127.0.0.1:")
            );
        }
    }
}
