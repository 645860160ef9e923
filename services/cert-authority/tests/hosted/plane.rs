//! The namespace of a hosted control plane.

use crate::harness::{Running, Volumes};
use cert_authority::config::Config;
use serde_json::json;
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
    api: ApiConfig,
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
