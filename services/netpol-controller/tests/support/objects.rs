//! Kubernetes objects written as JSON, and engines made from them.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_controller::domain::engine::{Change, Engine};
use netpol_controller::domain::frame::Established;
use netpol_controller::domain::parse;
use serde_json::{Value, json};

pub const NODE: &str = "node-1";

/// A cluster's objects.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub namespaces: Vec<Namespace>,
    pub pods: Vec<Pod>,
    pub policies: Vec<NetworkPolicy>,
}

impl Objects {
    /// An engine that was told all of them.
    pub fn engine(&self) -> Engine {
        let mut engine = Engine::new(NODE, Established::Cut);
        for change in self.changes() {
            engine.apply(change);
        }
        engine
    }

    pub fn changes(&self) -> Vec<Change> {
        let namespaces = self.namespaces.iter().map(namespace_change);
        let pods = self.pods.iter().map(pod_change);
        namespaces
            .chain(pods)
            .chain(self.policies.iter().map(policy_change))
            .collect()
    }
}

pub fn namespace_change(object: &Namespace) -> Change {
    let namespace = parse::namespace(object).unwrap();
    Change::Namespace(namespace.name.clone(), Some(namespace))
}

pub fn pod_change(object: &Pod) -> Change {
    let pod = parse::pod(object).unwrap();
    Change::Pod(pod.key.clone(), Some(Box::new(pod)))
}

pub fn policy_change(object: &NetworkPolicy) -> Change {
    let policy = parse::policy(object).unwrap();
    Change::Policy(policy.key.clone(), Some(Box::new(policy)))
}

/// A namespace; it gets its name as a label, as the API server does it.
pub fn namespace(name: &str, labels: Value) -> Namespace {
    let mut object = json!({"metadata": {"name": name, "labels": labels}});
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    serde_json::from_value(object).unwrap()
}

/// A running pod on [`NODE`] with ports 80 `serve-80-tcp` and 81 `serve-81-tcp` by name.
pub fn pod(namespace: &str, name: &str, labels: Value, ips: &[String]) -> Pod {
    pod_from(
        namespace,
        name,
        labels,
        ips,
        json!([
            {"name": "serve-80-tcp", "containerPort": 80},
            {"name": "serve-81-tcp", "containerPort": 81, "protocol": "TCP"},
            {"name": "serve-80-udp", "containerPort": 80, "protocol": "UDP"},
        ]),
    )
}

pub fn pod_from(namespace: &str, name: &str, labels: Value, ips: &[String], ports: Value) -> Pod {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    serde_json::from_value(json!({
        "metadata": {
            "namespace": namespace, "name": name, "labels": labels,
            "uid": format!("uid-{namespace}-{name}"),
            "creationTimestamp": "2026-11-23T00:00:00Z",
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": ips},
    }))
    .unwrap()
}

pub fn policy(namespace: &str, name: &str, spec: Value) -> NetworkPolicy {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }))
    .unwrap()
}
