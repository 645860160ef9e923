//! The nodes of the Kubernetes API, counted.

use crate::domain::fleet::KubeNodes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use sextant_kit::Metrics;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Nodes of the API by their kubelets' versions, counted when somebody asks.
#[derive(Debug)]
pub struct NodeMetrics(watch::Receiver<Arc<KubeNodes>>);

impl NodeMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics, nodes: watch::Receiver<Arc<KubeNodes>>) {
        metrics.register(|registry| registry.register_collector(Box::new(Self(nodes))));
    }
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<String, i64>::new();
        for node in self.0.borrow().values() {
            *counts.entry(version(&node.kubelet_version)).or_default() += 1;
        }
        let mut family = encoder.encode_descriptor(
            "kubernetes_nodes",
            "Nodes of the Kubernetes API by the version of their kubelets",
            None,
            MetricType::Gauge,
        )?;
        for (version, count) in counts {
            family
                .encode_family(&[("kubelet_version", version.as_str())])?
                .encode_gauge(&count)?;
        }
        Ok(())
    }
}

/// A version as a label; a node says it of itself, so that it may be anything.
fn version(said: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
    if !said.is_empty() && said.len() <= 40 && said.chars().all(fine) {
        said.to_owned()
    } else {
        "unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fleet::KubeNode;

    #[test]
    fn nodes_are_counted_by_version_and_nothing_else_gets_into_a_label() {
        let metrics = Metrics::new();
        let said = ["v1.37.2", "v1.37.2", "v1.36.0", "v1\"} 9\nother 1", ""];
        let node = |version: &&str| KubeNode {
            kubelet_version: (*version).to_owned(),
            ..KubeNode::default()
        };
        let nodes = said.iter().enumerate();
        let nodes: KubeNodes = nodes.map(|(i, v)| (i.to_string(), node(v))).collect();
        let (_sender, nodes) = watch::channel(Arc::new(nodes));
        NodeMetrics::register(&metrics, nodes);
        let text = metrics.encode().unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains("kubelet_version="));
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "sextant_kubernetes_nodes{kubelet_version=\"unknown\"} 2",
                "sextant_kubernetes_nodes{kubelet_version=\"v1.36.0\"} 1",
                "sextant_kubernetes_nodes{kubelet_version=\"v1.37.2\"} 2",
            ]
        );
        assert_eq!(text.matches("# TYPE sextant_kubernetes_nodes").count(), 1);
        assert!(!text.contains("other 1"));
    }
}
