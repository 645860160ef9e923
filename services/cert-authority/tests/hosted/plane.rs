//! The namespace of a hosted control plane.

use crate::harness::{Running, Volumes};
use cert_authority::config::Config;
use serde_json::{Value, json};
use sextant_hosting::ApiConfig;
use sextant_identity::KeyPair;
use sextant_proto::certauthority::EnrollResponse;
use sextant_testkit::{Account, HostingCluster};
use tonic::Status;

/// Its name; every test has a namespace of its own.
pub const NAME: &str = "plane";

pub struct Plane<'a> {
    cluster: &'a HostingCluster,
    pub namespace: &'static str,
    /// What cert-authority's pod finds mounted.
    pub api: ApiConfig,
}

impl<'a> Plane<'a> {
    /// With cert-authority's ServiceAccount and the rights that it needs, no others.
    pub async fn new(cluster: &'a HostingCluster, namespace: &'static str) -> Self {
        cluster.namespace(namespace).await;
        let account = cluster.account(namespace, "plane-cert-authority").await;
        account
            .grant(json!([
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["configmaps"],
                    "resourceNames": ["plane-trust"], "verbs": ["get", "patch"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"],
                    "resourceNames": ["plane-keyring", "plane-seal", "plane-state"]},
                {"apiGroups": [""], "resources": ["secrets"],
                    "resourceNames": ["plane-state"], "verbs": ["patch"]},
            ]))
            .await;
        account
            .grant_cluster(json!([{"apiGroups": ["authentication.k8s.io"],
                "resources": ["tokenreviews"], "verbs": ["create"]}]))
            .await;
        Self {
            cluster,
            namespace,
            api: account.pod().await,
        }
    }

    /// The ServiceAccount of a part, with the rights that it needs.
    pub async fn part(&self, identity: &str) -> Account<'a> {
        let name = format!("{NAME}-{identity}");
        let account = self.cluster.account(self.namespace, &name).await;
        account
            .grant(json!([{"apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": ["plane-trust"], "verbs": ["get"]}]))
            .await;
        account
    }

    pub fn audience(&self) -> String {
        format!("sextant:{}:{NAME}", self.namespace)
    }

    fn secret(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/secrets/plane-{name}", self.namespace)
    }

    /// The Secret `plane-<name>`, as an administrator of the hosting cluster sees it.
    pub async fn read(&self, name: &str) -> Value {
        self.cluster.read(&self.secret(name)).await
    }

    /// Somebody deletes the Secret `plane-<name>`.
    pub async fn delete(&self, name: &str) {
        self.cluster.delete(&self.secret(name)).await;
    }

    /// Somebody restores a Secret of another plane.
    pub async fn restore(&self, secret: &Value) {
        let copy = json!({"metadata": {"name": secret["metadata"]["name"]},
            "data": secret["data"]});
        let path = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        self.cluster.make(&path, &copy).await;
    }

    /// What the chart would set for a replica with these volumes.
    pub fn config(&self, volumes: &Volumes) -> Config {
        let mut config = volumes.config();
        config.enrolment.identities = None;
        config.hosting.name = NAME.to_owned();
        config.hosting.api = self.api.clone();
        config
    }
}

/// Enrols by hand, with a new key.
pub async fn enroll(running: &Running, token: &str) -> Result<EnrollResponse, Status> {
    let csr = KeyPair::generate().unwrap().csr_der().unwrap();
    running.enroll(token, csr).await
}
