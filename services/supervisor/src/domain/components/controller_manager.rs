//! kube-controller-manager, without CA keys and without a ServiceAccount key.

use super::{Election, Flags, config_path, kubeconfig::kubeconfig, pki};
use crate::domain::cluster::ClusterConfig;
use sextant_proto::supervisor::ComponentFile;

/// Everything but what would need a key that this container doesn't have: cert-authority signs certificates,
/// token-service signs tokens, and node-agent renews kubelets' certificates without CSR objects.
const CONTROLLERS: &str = "*,-bootstrap-signer-controller,-certificatesigningrequest-approving-controller,\
-certificatesigningrequest-signing-controller,-legacy-serviceaccount-token-cleaner-controller,\
-serviceaccount-token-controller,-token-cleaner-controller";

pub(super) fn config(cluster: &ClusterConfig) -> (Flags, Vec<ComponentFile>) {
    let mut flags = Flags::default();
    let election = Election::of(cluster);
    flags
        .set_serving("serving")
        .set_delegated_auth()
        .set("kubeconfig", config_path("kubeconfig.yaml"))
        .set("secure-port", "10257")
        .set("cluster-name", &cluster.name)
        .set("controllers", CONTROLLERS)
        .set("use-service-account-credentials", "true")
        .set("root-ca-file", pki("cluster-server-ca.pem"))
        .set("allocate-node-cidrs", "true")
        .set("cluster-cidr", cluster.networks.cluster_cidr.to_string())
        .set(
            "service-cluster-ip-range",
            cluster.networks.service_cidr.to_string(),
        )
        // Each controller gets a ServiceAccount and a token of its own at a start: with upstream's 20 requests a
        // second no node has a pod network for 5 s. The API's own priorities keep this fair.
        .set("kube-api-qps", "100")
        .set("kube-api-burst", "200")
        .set("leader-elect", "true")
        .set("leader-elect-lease-duration", election.lease)
        .set("leader-elect-renew-deadline", election.deadline)
        .set("leader-elect-retry-period", election.retry);
    (flags, vec![kubeconfig(cluster)])
}
