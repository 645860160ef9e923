//! `sextant status`
use super::node::NodeView;
use crate::output::{Table, View};
use serde::Serialize;
use sextant_proto::supervisor::{ClusterStatus, ListNodesResponse, PartStatus};
use time::OffsetDateTime;

/// The cluster as a whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    cluster: String,
    version: String,
    kubernetes_version: String,
    ready: bool,
    parts: Vec<PartView>,
    nodes: Vec<NodeView>,
}

#[derive(Debug, Serialize)]
struct PartView {
    name: String,
    address: String,
    ready: bool,
    reasons: Vec<String>,
}

impl StatusView {
    /// Joins what the supervisor knows of the parts and of the nodes.
    #[must_use]
    pub fn new(status: ClusterStatus, nodes: ListNodesResponse) -> Self {
        let mut parts: Vec<PartView> = status.parts.into_iter().map(PartView::from).collect();
        parts.sort_by(|a, b| (&a.name, &a.address).cmp(&(&b.name, &b.address)));
        let nodes = NodeView::sorted(nodes);
        // A cluster without a part knows nothing of itself; one without nodes may wait for its first.
        let ready = !parts.is_empty()
            && parts.iter().all(|part| part.ready)
            && nodes.iter().all(NodeView::is_ready);
        Self {
            cluster: status.cluster_name,
            version: status.version,
            kubernetes_version: status.kubernetes_version,
            ready,
            parts,
            nodes,
        }
    }

    /// Whether every part and every node is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl From<PartStatus> for PartView {
    fn from(part: PartStatus) -> Self {
        let PartStatus {
            name,
            address,
            ready,
            reasons,
        } = part;
        Self {
            name,
            address,
            ready,
            reasons,
        }
    }
}

impl View for StatusView {
    fn table(&self, now: OffsetDateTime) -> String {
        let mut parts = Table::new(&["PART", "ADDRESS", "READY", "REASON"]);
        for part in &self.parts {
            parts.row([
                part.name.clone(),
                part.address.clone(),
                part.ready.to_string(),
                part.reasons.join("; "),
            ]);
        }
        let mut heading = Table::new(&["CLUSTER", "SEXTANT", "KUBERNETES", "READY"]);
        heading.row([
            self.cluster.clone(),
            self.version.clone(),
            self.kubernetes_version.clone(),
            self.ready.to_string(),
        ]);
        let nodes = if self.nodes.is_empty() {
            "No node has joined yet.\n".to_owned()
        } else {
            NodeView::render(&self.nodes, now)
        };
        format!("{}\n{}\n{nodes}", heading.render(), parts.render())
    }
}
