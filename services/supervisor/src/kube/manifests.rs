//! The objects that belong to every cluster, as YAML templates in `addons/`.

use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use kube::api::DynamicObject;
use serde::Deserialize;
use sextant_identity::TrustBundle;

/// Folder of the volumes that a node holds, in the volume with its identity: both last as long as the node.
const VOLUMES: &str = "/var/lib/sextant/volumes";

/// When an add-on is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// First of all, by the bootstrap certificate: what the others' rights come from.
    Rights,
    /// Afterwards.
    Rest,
    /// Once metrics-server answers: an API without a server makes every client's discovery complain.
    Served,
}

struct Template {
    name: &'static str,
    text: &'static str,
    phase: Phase,
    wanted: fn(&ClusterConfig) -> bool,
}

const TEMPLATES: [Template; 6] = [
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
    Template {
        name: "metrics-server.yaml",
        text: include_str!("../../addons/metrics-server.yaml"),
        phase: Phase::Rest,
        wanted: |cluster| cluster.addons.metrics_server,
    },
    Template {
        name: "metrics-api.yaml",
        text: include_str!("../../addons/metrics-api.yaml"),
        phase: Phase::Served,
        wanted: |cluster| cluster.addons.metrics_server,
    },
];

/// The wanted objects of a phase.
///
/// # Errors
/// [`Error::Addon`] when a value makes a template unreadable.
pub fn manifests(
    cluster: &ClusterConfig,
    trust: &TrustBundle,
    phase: Phase,
) -> Result<Vec<DynamicObject>, Error> {
    let mut objects = Vec::new();
    for template in TEMPLATES
        .iter()
        .filter(|t| t.phase == phase && (t.wanted)(cluster))
    {
        let bad = |message: String| Error::Addon {
            name: template.name,
            message,
        };
        let text = fill(template.text, cluster, trust);
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

fn fill(text: &str, cluster: &ClusterConfig, trust: &TrustBundle) -> String {
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
        (
            "{{CLUSTER_SERVER_CA}}",
            STANDARD.encode(trust.cluster_server_pem()),
        ),
        ("{{IMAGE_COREDNS}}", images.coredns.clone()),
        (
            "{{IMAGE_LOCAL_PATH_PROVISIONER}}",
            images.local_path_provisioner.clone(),
        ),
        ("{{IMAGE_METRICS_SERVER}}", images.metrics_server.clone()),
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
    use sextant_testkit::Root;

    fn ids(cluster: &ClusterConfig, phase: Phase) -> Vec<String> {
        manifests(cluster, &Root::new().bundle(), phase)
            .unwrap()
            .iter()
            .map(|object| ObjectId::of(object).unwrap().to_string())
            .collect()
    }

    /// A cluster with every add-on.
    fn everything() -> ClusterConfig {
        let mut cluster = ClusterConfig::default();
        cluster.addons.local_path = true;
        cluster.addons.metrics_server = true;
        cluster
    }

    #[test]
    fn every_template_is_filled_and_labelled() {
        let cluster = everything();
        let trust = Root::new().bundle();
        for phase in [Phase::Rights, Phase::Rest, Phase::Served] {
            for object in manifests(&cluster, &trust, phase).unwrap() {
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
        let text = ids(&ClusterConfig::default(), Phase::Rest).join("\n");
        assert!(!text.contains("local-path"), "{text}");
        assert!(!text.contains("metrics"), "{text}");
        assert!(ids(&ClusterConfig::default(), Phase::Served).is_empty());
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

    #[test]
    fn metrics_come_and_go_with_their_setting() {
        let mut cluster = everything();
        let deployment = "Deployment kube-system/metrics-server".to_owned();
        let api = "APIService v1beta1.metrics.k8s.io".to_owned();
        assert!(ids(&cluster, Phase::Rest).contains(&deployment));
        assert_eq!(ids(&cluster, Phase::Served), [api]);
        cluster.addons.metrics_server = false;
        let rest = ids(&cluster, Phase::Rest);
        assert!(!rest.iter().any(|id| id.contains("metrics")), "{rest:?}");
        assert!(ids(&cluster, Phase::Served).is_empty());
    }

    #[test]
    fn who_answers_for_metrics_is_verified() {
        let trust = Root::new().bundle();
        let objects = manifests(&everything(), &trust, Phase::Served).unwrap();
        let spec = &objects[0].data["spec"];
        let bundle = spec["caBundle"].as_str().unwrap();
        let pem = STANDARD.decode(bundle).unwrap();
        assert_eq!(pem, trust.cluster_server_pem().into_bytes());
        assert!(spec.get("insecureSkipTLSVerify").is_none());
        let objects = manifests(&everything(), &trust, Phase::Rest).unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        assert!(text.contains("--kubelet-certificate-authority="));
        assert!(!text.contains("insecure-tls"));
    }

    /// What the policies let in is what the configuration makes: one folder, one image, one account.
    #[test]
    fn helper_pods_are_those_that_are_let_in() {
        let cluster = everything();
        let objects = manifests(&cluster, &Root::new().bundle(), Phase::Rest).unwrap();
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
