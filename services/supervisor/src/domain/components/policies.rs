//! kube-apiserver's configuration files.

use crate::domain::cluster::ClusterConfig;
use serde_json::{Value, json};

/// Pod Security Admission's defaults.
pub(super) fn admission(cluster: &ClusterConfig) -> Value {
    let levels = &cluster.pod_security;
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": {
                    "enforce": levels.enforce, "enforce-version": "latest",
                    "audit": levels.audit, "audit-version": "latest",
                    "warn": levels.warn, "warn-version": "latest",
                },
                "exemptions": {
                    "usernames": [], "runtimeClasses": [], "namespaces": levels.exempt_namespaces,
                },
            },
        }],
    })
}

pub(super) fn authorization() -> Value {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}],
    })
}

/// Everything in the node network goes through the tunnel; datastore and signer are dialled directly.
pub(super) fn egress() -> Value {
    json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {
                "proxyProtocol": "HTTPConnect",
                "transport": {"uds": {"udsName": "/run/sextant/egress.sock"}},
            },
        }],
    })
}

/// Secrets are written encrypted; `identity` only reads what was written before encryption was on.
pub(super) fn encryption() -> Value {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [
                {"kms": {
                    "apiVersion": "v2",
                    "name": "sextant",
                    "endpoint": "unix:///run/sextant/kms.sock",
                    "timeout": "3s",
                }},
                {"identity": {}},
            ],
        }],
    })
}

pub(super) fn audit(cluster: &ClusterConfig) -> Value {
    let rules = if cluster.audit.rules.is_empty() {
        default_audit_rules()
    } else {
        cluster.audit.rules.clone()
    };
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    })
}

/// Who changed what, without secret content and without the noise of leases, probes and watches.
fn default_audit_rules() -> Vec<Value> {
    let noise = json!({"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/metrics", "/version", "/openapi*"]});
    let leases = json!({"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]});
    let events = json!({"level": "None", "resources": [{"group": "", "resources": ["events"]}, {"group": "events.k8s.io", "resources": ["events"]}]});
    let components = json!({
        "level": "None",
        "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"],
        "verbs": ["get", "list", "watch"],
    });
    let nodes = json!({"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"], "verbs": ["get", "list", "watch"]});
    let secret = json!({"level": "Metadata", "resources": [
        {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
        {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
    ]});
    let streams = json!({"level": "Metadata", "resources": [{"group": "", "resources": ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/log", "services/proxy", "nodes/proxy"]}]});
    let changes = json!({"level": "Request", "verbs": ["create", "update", "patch", "delete", "deletecollection"], "userGroups": ["sextant:admins"]});
    let rest = json!({"level": "Metadata"});
    vec![
        noise, leases, events, components, nodes, secret, streams, changes, rest,
    ]
}
