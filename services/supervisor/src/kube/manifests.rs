//! The objects that belong to every cluster, as YAML templates in `addons/`.

use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use ipnet::IpNet;
use kube::api::DynamicObject;
use serde::Deserialize;

/// Folder of the volumes that a node holds, in the volume with its identity: both last as long as the node.
const VOLUMES: &str = "/var/lib/sextant/volumes";

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

const TEMPLATES: [Template; 4] = [
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
    Template {
        name: "local-path-provisioner.yaml",
        text: include_str!("../../addons/local-path-provisioner.yaml"),
        phase: Phase::Rest,
        wanted: |cluster| cluster.addons.local_path,
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
    let (api, images) = (&cluster.api, &cluster.images);
    [
        ("{{API_ADDRESS}}", api.node_address.to_string()),
        ("{{API_NETWORK}}", IpNet::from(api.node_address).to_string()),
        ("{{API_PORT}}", api.port.to_string()),
        ("{{CLUSTER_DNS}}", cluster.networks.cluster_dns.to_string()),
        (
            "{{CLUSTER_DOMAIN}}",
            cluster.networks.cluster_domain.clone(),
        ),
        ("{{IMAGE_COREDNS}}", images.coredns.clone()),
        (
            "{{IMAGE_LOCAL_PATH_PROVISIONER}}",
            images.local_path_provisioner.clone(),
        ),
        (
            "{{IMAGE_NETPOL_CONTROLLER}}",
            images.netpol_controller.clone(),
        ),
        ("{{IMAGE_TOOLBOX}}", images.toolbox.clone()),
        ("{{VOLUMES}}", VOLUMES.to_owned()),
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

    /// A cluster with every add-on.
    fn everything() -> ClusterConfig {
        let mut cluster = ClusterConfig::default();
        cluster.addons.local_path = true;
        cluster
    }

    #[test]
    fn every_template_is_filled_and_labelled() {
        let cluster = everything();
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

    #[test]
    fn nothing_more_than_asked_for() {
        let ids = ids(&ClusterConfig::default(), Phase::Rest).join("\n");
        assert!(!ids.contains("local-path"), "{ids}");
    }

    #[test]
    fn volumes_come_and_go_with_their_setting() {
        let mut cluster = everything();
        let with = ids(&cluster, Phase::Rest);
        for id in [
            "StorageClass local-path",
            "Deployment kube-system/local-path-provisioner",
        ] {
            assert!(with.contains(&id.to_owned()), "{id} is not in {with:?}");
        }
        cluster.addons.local_path = false;
        let without = ids(&cluster, Phase::Rest);
        assert!(!without.iter().any(|id| id.contains("local-path")));
        assert!(without.iter().all(|id| with.contains(id)));
    }

    /// What the policies let in is what the configuration makes: one folder, one image, one account.
    #[test]
    fn helper_pods_are_those_that_are_let_in() {
        let cluster = everything();
        let objects = manifests(&cluster, Phase::Rest).unwrap();
        let text = |kind: &str, name: &str| {
            let named = |o: &&DynamicObject| {
                let id = ObjectId::of(o).unwrap();
                id.kind == kind && id.name == name
            };
            objects.iter().find(named).unwrap().data.to_string()
        };
        let pods = text("ValidatingAdmissionPolicy", "sextant-local-path-helpers");
        let volumes = text("ValidatingAdmissionPolicy", "sextant-local-path-volumes");
        let settings = text("ConfigMap", "local-path-provisioner");
        let provisioner = text("Deployment", "local-path-provisioner");
        assert!(
            settings.contains(&format!("[\\\"{VOLUMES}\\\"]")),
            "{settings}"
        );
        for policy in [&pods, &volumes] {
            assert!(
                policy.contains(&format!("startsWith('{VOLUMES}/')")),
                "{policy}"
            );
        }
        for part in [&pods, &settings] {
            assert!(part.contains(&cluster.images.toolbox), "{part}");
        }
        assert!(pods.contains("serviceAccountName == 'local-path-helper'"));
        assert!(provisioner.contains("--service-account-name=local-path-helper"));
    }
}
