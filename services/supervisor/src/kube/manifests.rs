//! The objects that belong to every cluster, as YAML templates in `addons/`.

use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use kube::api::DynamicObject;
use serde::Deserialize;

/// When an add-on is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// First of all, by the bootstrap certificate: what the others' rights come from.
    Rights,
    /// Afterwards.
    Rest,
}

struct Template {
    name: &'static str,
    text: &'static str,
    phase: Phase,
    wanted: fn(&ClusterConfig) -> bool,
}

const TEMPLATES: [Template; 3] = [
    Template {
        name: "rbac.yaml",
        text: include_str!("../../addons/rbac.yaml"),
        phase: Phase::Rights,
        wanted: |_| true,
    },
    Template {
        name: "coredns.yaml",
        text: include_str!("../../addons/coredns.yaml"),
        phase: Phase::Rest,
        wanted: |_| true,
    },
    Template {
        name: "netpol-controller.yaml",
        text: include_str!("../../addons/netpol-controller.yaml"),
        phase: Phase::Rest,
        wanted: |cluster| cluster.network_policy,
    },
];

/// The wanted objects of a phase.
///
/// # Errors
/// [`Error::Addon`] when a value makes a template unreadable.
pub fn manifests(cluster: &ClusterConfig, phase: Phase) -> Result<Vec<DynamicObject>, Error> {
    let mut objects = Vec::new();
    for template in TEMPLATES
        .iter()
        .filter(|t| t.phase == phase && (t.wanted)(cluster))
    {
        let bad = |message: String| Error::Addon {
            name: template.name,
            message,
        };
        let text = fill(template.text, cluster);
        for document in serde_norway::Deserializer::from_str(&text) {
            let object = DynamicObject::deserialize(document).map_err(|e| bad(e.to_string()))?;
            if super::objects::ObjectId::of(&object).is_none() {
                return Err(bad("an object has no apiVersion, kind or name".into()));
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

fn fill(text: &str, cluster: &ClusterConfig) -> String {
    let api = &cluster.api;
    [
        ("{{API_ADDRESS}}", api.node_address.to_string()),
        ("{{API_PORT}}", api.port.to_string()),
        ("{{CLUSTER_DNS}}", cluster.networks.cluster_dns.to_string()),
        (
            "{{CLUSTER_DOMAIN}}",
            cluster.networks.cluster_domain.clone(),
        ),
        ("{{IMAGE_COREDNS}}", cluster.images.coredns.clone()),
        (
            "{{IMAGE_NETPOL_CONTROLLER}}",
            cluster.images.netpol_controller.clone(),
        ),
    ]
    .iter()
    .fold(text.to_owned(), |text, (name, value)| {
        text.replace(name, value)
    })
}

#[cfg(test)]
mod tests {
    use super::super::objects::ObjectId;
    use super::*;

    fn ids(cluster: &ClusterConfig, phase: Phase) -> Vec<String> {
        manifests(cluster, phase)
            .unwrap()
            .iter()
            .map(|object| ObjectId::of(object).unwrap().to_string())
            .collect()
    }

    #[test]
    fn every_template_is_filled_and_labelled() {
        let cluster = ClusterConfig::default();
        for phase in [Phase::Rights, Phase::Rest] {
            for object in manifests(&cluster, phase).unwrap() {
                let text = serde_json::to_string(&object).unwrap();
                assert!(!text.contains("{{"), "{text}");
                let labels = object.metadata.labels.unwrap_or_default();
                assert_eq!(labels["app.kubernetes.io/managed-by"], "sextant", "{text}");
            }
        }
    }

    #[test]
    fn the_policy_controller_comes_and_goes_with_its_setting() {
        let mut cluster = ClusterConfig::default();
        let daemon_set = "DaemonSet kube-system/netpol-controller".to_owned();
        assert!(ids(&cluster, Phase::Rest).contains(&daemon_set));
        cluster.network_policy = false;
        assert!(!ids(&cluster, Phase::Rest).contains(&daemon_set));
        assert!(ids(&cluster, Phase::Rest).contains(&"Deployment kube-system/coredns".to_owned()));
    }
}
