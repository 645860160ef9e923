//! The kubeconfig of a component inside its own container.

use super::{file, pki};
use crate::domain::cluster::ClusterConfig;
use serde_json::json;
use sextant_proto::supervisor::ComponentFile;

/// `kubeconfig.yaml`: the pair `client` against the API servers' internal name.
pub(super) fn kubeconfig(cluster: &ClusterConfig) -> ComponentFile {
    file(
        "kubeconfig.yaml",
        &json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sextant", "cluster": {
                "server": format!("https://{}", cluster.api.internal),
                "certificate-authority": pki("cluster-server-ca.pem"),
            }}],
            "users": [{"name": "component", "user": {
                "client-certificate": pki("client.crt"),
                "client-key": pki("client.key"),
            }}],
            "contexts": [{"name": "sextant", "context": {"cluster": "sextant", "user": "component"}}],
            "current-context": "sextant",
        }),
        false,
    )
}
