//! `sextant node list` and `remove`
use crate::output::{Table, Timestamp, View};
use serde::Serialize;
use sextant_proto::supervisor::{ListNodesResponse, NodeInfo};
use time::OffsetDateTime;

/// The nodes of a cluster, by name.
#[derive(Debug, Serialize)]
pub struct NodesView {
    nodes: Vec<NodeView>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    name: String,
    ready: bool,
    session: bool,
    supervisor: String,
    addresses: Vec<String>,
    pod_cidr: String,
    agent_version: String,
    joined: Option<Timestamp>,
    waiting_for: Vec<String>,
}

impl From<ListNodesResponse> for NodesView {
    fn from(response: ListNodesResponse) -> Self {
        Self {
            nodes: NodeView::sorted(response),
        }
    }
}

impl NodeView {
    /// The nodes by name.
    #[must_use]
    pub fn sorted(response: ListNodesResponse) -> Vec<Self> {
        let mut nodes: Vec<Self> = response.nodes.into_iter().map(Self::from).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// Whether Kubernetes can use the node and the supervisor can reach it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready && self.session
    }

    /// The nodes as a table.
    #[must_use]
    pub fn render(nodes: &[Self], now: OffsetDateTime) -> String {
        let header = [
            "NODE",
            "READY",
            "SESSION",
            "ADDRESSES",
            "POD CIDR",
            "VERSION",
            "JOINED",
            "REASON",
        ];
        let mut table = Table::new(&header);
        for node in nodes {
            table.row(node.cells(now));
        }
        table.render()
    }

    /// What each column of the table says of it.
    pub(crate) fn cells(&self, now: OffsetDateTime) -> [String; 8] {
        [
            self.name.clone(),
            self.ready.to_string(),
            if self.session {
                self.supervisor.clone()
            } else {
                "none".to_owned()
            },
            self.addresses.join(","),
            self.pod_cidr.clone(),
            self.agent_version.clone(),
            self.joined
                .map(|joined| joined.relative(now))
                .unwrap_or_default(),
            self.reason(),
        ]
    }

    fn reason(&self) -> String {
        if !self.session && self.waiting_for.is_empty() {
            return "its agent has no session with a supervisor".to_owned();
        }
        self.waiting_for.join("; ")
    }
}

impl From<NodeInfo> for NodeView {
    fn from(node: NodeInfo) -> Self {
        Self {
            name: node.name,
            ready: node.ready,
            session: node.session,
            supervisor: node.supervisor,
            addresses: node.addresses,
            pod_cidr: node.pod_cidr,
            agent_version: node.agent_version,
            joined: Timestamp::from_unix(node.joined_unix),
            waiting_for: node.waiting_for,
        }
    }
}

impl View for NodesView {
    fn table(&self, now: OffsetDateTime) -> String {
        NodeView::render(&self.nodes, now)
    }
}

/// A node that the cluster has forgotten.
#[derive(Debug, Serialize)]
pub struct RemovedNode {
    /// Its name.
    pub removed: String,
}

impl View for RemovedNode {
    fn table(&self, _: OffsetDateTime) -> String {
        format!("Node {} is removed.\n", self.removed)
    }
}
