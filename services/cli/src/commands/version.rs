//! `sextant version`
use crate::output::{Table, View};
use serde::Serialize;
use sextant_proto::supervisor::ClusterStatus;
use time::OffsetDateTime;

/// Versions of this program and, when asked for, of the cluster.
#[derive(Debug, Serialize)]
pub struct VersionView {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<String>,
}

impl VersionView {
    /// `cluster` is its answer if it was asked.
    #[must_use]
    pub fn new(cluster: Option<ClusterStatus>) -> Self {
        let (cluster, kubernetes) = cluster
            .map(|status| (status.version, status.kubernetes_version))
            .unzip();
        Self {
            client: env!("CARGO_PKG_VERSION"),
            cluster,
            kubernetes,
        }
    }
}

impl View for VersionView {
    fn table(&self, _: OffsetDateTime) -> String {
        let Some((cluster, kubernetes)) = self.cluster.as_ref().zip(self.kubernetes.as_ref())
        else {
            return format!("sextant {}\n", self.client);
        };
        let mut table = Table::new(&["CLIENT", "CLUSTER", "KUBERNETES"]);
        table.row([self.client.to_owned(), cluster.clone(), kubernetes.clone()]);
        table.render()
    }
}
