//! A real kube-apiserver's opinion of the objects: every field must be known, and every pod restricted. Nothing is made.

use crate::chart::{Rendered, text};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Kinds that a bare kube-apiserver doesn't have.
const OF_OTHERS: [&str; 2] = ["PodMonitor", "ServiceMonitor"];

pub fn every_object_is_taken(helm: &Path) -> Result<()> {
    let Some(server) = Server::start()? else {
        return Ok(());
    };
    server.kubectl(&["create", "-f", "-"], &tls_route().to_string())?;
    let crd = "crd/tlsroutes.gateway.networking.k8s.io";
    let established = ["wait", "--for=condition=Established", "--timeout=30s", crd];
    server.kubectl(&established, "")?;
    for rendered in Rendered::all(helm)? {
        let mut all = rendered.objects.clone();
        all.retain(|object| !OF_OTHERS.contains(&text(&object["kind"]).as_str()));
        all.extend(pods(&rendered));
        let taken = server
            .dry_run(&all)
            .with_context(|| format!("with {}", rendered.values))?;
        let (wanted, values) = (all.len(), &rendered.values);
        ensure!(taken == wanted, "{taken} of {wanted} with {values}");
    }
    // And it does judge.
    let root = json!({"containers": [{"name": "root", "image": "root"}]});
    let wrong_pod = |spec| pod("wrong", json!({}), spec);
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TLSRoute",
        "metadata": {"name": "wrong"}, "spec": {"rules": [{"backendRefs": [{"name": "x", "ports": 1}]}]}});
    let wrong = [
        (wrong_pod(root), "violates PodSecurity \"restricted"),
        (
            wrong_pod(json!({"contianers": []})),
            "unknown field \"contianers\"",
        ),
        (
            route,
            "unknown field \"ports\" in io.k8s.networking.gateway",
        ),
    ];
    for (object, sentence) in wrong {
        let refusal = server.dry_run(&[object]).err();
        let refusal = refusal.map_or("it was taken".to_owned(), |error| format!("{error:#}"));
        ensure!(refusal.contains(sentence), "no {sentence:?}: {refusal}");
    }
    Ok(())
}

/// Gateway API's kind TLSRoute, as far as fields and their rules go.
fn tls_route() -> Value {
    let text = json!({"type": "string", "minLength": 1, "maxLength": 253});
    let label = json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"});
    // No addresses: TLS names no server by one.
    let host = json!({"type": "string", "maxLength": 253, "not": {"format": "ipv4"},
        "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"});
    let port = json!({"type": "integer", "minimum": 1, "maximum": 65535});
    let object = |required: Value, properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let list =
        |items: &Value| json!({"type": "array", "minItems": 1, "maxItems": 16, "items": items});
    let parent = json!({"group": text, "kind": text, "namespace": label, "name": text, "sectionName": text, "port": port});
    let backend = json!({"group": text, "kind": text, "namespace": label, "name": text, "port": port,
        "weight": {"type": "integer"}});
    let backends = list(&object(json!(["name"]), backend));
    let rules = list(&object(
        json!(["backendRefs"]),
        json!({"name": label, "backendRefs": backends}),
    ));
    let spec = json!({"parentRefs": list(&object(json!(["name"]), parent)), "hostnames": list(&host), "rules": rules});
    let schema = object(
        json!(["spec"]),
        json!({"spec": object(json!(["rules"]), spec)}),
    );
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "tlsroutes.gateway.networking.k8s.io",
            // The API wants this of groups that end like this one.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's own"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "names": {"kind": "TLSRoute", "plural": "tlsroutes"},
            "scope": "Namespaced",
            "versions": [{"name": "v1alpha2", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// The pods themselves: their owners are taken whatever their pods ask for.
fn pods(rendered: &Rendered) -> Vec<Value> {
    let owned = rendered.pods().into_iter().filter(|pod| pod.part != "test");
    owned
        .map(|one| pod(&format!("pod-of-{}", one.part), json!(one.labels), one.spec))
        .collect()
}

fn pod(name: &str, labels: Value, spec: Value) -> Value {
    let metadata = json!({"name": name, "labels": labels});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}
