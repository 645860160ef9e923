//! A real kube-apiserver's opinion of the objects: every field must be known, and every pod restricted. Nothing is made.

use crate::chart::{Rendered, text};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Kinds that a bare kube-apiserver doesn't have.
const OF_OTHERS: [&str; 3] = ["PodMonitor", "ServiceMonitor", "TLSRoute"];

pub fn every_object_is_taken(helm: &Path) -> Result<()> {
    let Some(server) = Server::start()? else {
        return Ok(());
    };
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
    let wrong = [
        (root, "violates PodSecurity \"restricted"),
        (json!({"contianers": []}), "unknown field \"contianers\""),
    ];
    for (spec, sentence) in wrong {
        let refusal = server.dry_run(&[pod("wrong", json!({}), spec)]).err();
        let refusal = refusal.map_or("it was taken".to_owned(), |error| format!("{error:#}"));
        ensure!(refusal.contains(sentence), "no {sentence:?}: {refusal}");
    }
    Ok(())
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
