//! Traces, as the collector's file exporter writes them: OTLP's JSON, one export a line.
mod files;
mod span;
mod tree;

pub use files::{Source, find};
pub use span::{Link, Span};
pub use tree::{Branch, Trace};

/// Which trace is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// The newest start of this node.
    Join(String),
    /// kubelet's first look at the newest pod of this name, `namespace/name`.
    Pod(String),
    /// The request to kube-apiserver with this audit id.
    Request(String),
    /// The one with this id.
    Trace(String),
}

impl Wanted {
    /// What stands in each line that may hold it.
    fn needle(&self) -> &str {
        match self {
            Self::Join(_) => "\"node_start\"",
            Self::Pod(pod) => pod,
            Self::Request(audit_id) => audit_id,
            Self::Trace(id) => id,
        }
    }

    fn is_in(&self, span: &Span) -> bool {
        match self {
            Self::Join(node) => span.name == "node_start" && span.is("node", node),
            Self::Pod(pod) => {
                let created = span.is("k8s.pod.update_type", "create");
                span.name == "syncPod" && created && span.is("k8s.pod", pod)
            }
            Self::Request(audit_id) => span.is("audit-id", audit_id),
            Self::Trace(id) => span.trace == *id,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Join(node) => write!(f, "a start of node {node}"),
            Self::Pod(pod) => write!(f, "a start of pod {pod}"),
            Self::Request(audit_id) => write!(f, "a request with audit id {audit_id}"),
            Self::Trace(id) => write!(f, "the id {id}"),
        }
    }
}
