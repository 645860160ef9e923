//! Emptying the node: cordon, evict, wait.
//!
//! The kubelet's own identity is enough: the Node authorizer lets it change its node and evict its pods, and
//! NodeRestriction keeps it from touching anything else.

use crate::api::ApiClient;
use crate::error::Error;
use serde_json::{Value, json};
use sextant_kit::backoff::Backoff;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A pod that must go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Victim {
    namespace: String,
    name: String,
    uid: String,
}

/// Cordons `node` and evicts its pods; returns them as `namespace/name` once they are gone.
pub(super) async fn drain(
    api: &ApiClient,
    node: &str,
    limit: Duration,
) -> Result<Vec<String>, Error> {
    let deadline = Instant::now() + limit;
    cordon(api, node).await?;
    let mut evicted: Vec<String> = Vec::new();
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
    loop {
        let left = victims(&pods(api, node).await?);
        if left.is_empty() {
            return Ok(evicted);
        }
        let mut blocked = Vec::new();
        for victim in &left {
            let name = format!("{}/{}", victim.namespace, victim.name);
            match evict(api, victim).await? {
                None if !evicted.contains(&name) => evicted.push(name),
                None => {}
                Some(reason) => blocked.push(format!("{name}: {reason}")),
            }
        }
        if Instant::now() >= deadline {
            let names: Vec<_> = left
                .iter()
                .map(|v| format!("{}/{}", v.namespace, v.name))
                .collect();
            return Err(Error::Api(format!(
                "{} pods are still there after {} s: {} {}",
                left.len(),
                limit.as_secs(),
                names.join(", "),
                blocked.join("; ")
            )));
        }
        sleep(backoff.next()).await;
    }
}

async fn cordon(api: &ApiClient, node: &str) -> Result<(), Error> {
    let patch = json!({ "spec": { "unschedulable": true } });
    let kind = "application/strategic-merge-patch+json";
    let answer = api
        .request("PATCH", &format!("/api/v1/nodes/{node}"), kind, &patch)
        .await?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(refused("cordon", answer.status, &answer.body))
    }
}

async fn pods(api: &ApiClient, node: &str) -> Result<Value, Error> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let answer = api
        .request("GET", &path, "application/json", &Value::Null)
        .await?;
    if answer.status == 200 {
        Ok(answer.body)
    } else {
        Err(refused(
            "listing this node's pods",
            answer.status,
            &answer.body,
        ))
    }
}

/// `None` when the pod is evicted or gone; otherwise why it can't be evicted now.
async fn evict(api: &ApiClient, victim: &Victim) -> Result<Option<String>, Error> {
    let Victim {
        namespace,
        name,
        uid,
    } = victim;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
        "deleteOptions": { "preconditions": { "uid": uid } },
    });
    let answer = api
        .request("POST", &path, "application/json", &body)
        .await?;
    match answer.status {
        200 | 201 | 404 | 409 => Ok(None),
        429 => Ok(Some(message(&answer.body))),
        status => Err(refused(
            &format!("evicting {namespace}/{name}"),
            status,
            &answer.body,
        )),
    }
}

fn refused(what: &str, status: u16, body: &Value) -> Error {
    Error::Api(format!("{what}: HTTP {status}: {}", message(body)))
}

fn message(body: &Value) -> String {
    body["message"]
        .as_str()
        .unwrap_or("no reason given")
        .to_owned()
}

/// All pods but those that would come back at once: of DaemonSets, static ones, and finished ones.
fn victims(list: &Value) -> Vec<Victim> {
    let items = list["items"].as_array().into_iter().flatten();
    let goes = |pod: &&Value| {
        let meta = &pod["metadata"];
        let mut owners = meta["ownerReferences"].as_array().into_iter().flatten();
        let daemon = owners.any(|o| o["kind"] == "DaemonSet" && o["controller"] == true);
        let mirror = meta["annotations"]
            .get("kubernetes.io/config.mirror")
            .is_some();
        let finished =
            ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""));
        !(daemon || mirror || finished)
    };
    let victim = |pod: &Value| {
        let field = |name: &str| pod["metadata"][name].as_str().map(str::to_owned);
        Some(Victim {
            namespace: field("namespace")?,
            name: field("name")?,
            uid: field("uid")?,
        })
    };
    items.filter(goes).filter_map(victim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_would_come_back_stay() {
        let pod = |name: &str, owner: &str, phase: &str, mirror: bool| {
            let annotations = if mirror {
                json!({ "kubernetes.io/config.mirror": "x" })
            } else {
                json!({})
            };
            json!({
                "metadata": {
                    "name": name, "namespace": "default", "uid": name, "annotations": annotations,
                    "ownerReferences": [{ "kind": owner, "controller": true }],
                },
                "status": { "phase": phase },
            })
        };
        let list = json!({ "items": [
            pod("web", "ReplicaSet", "Running", false),
            pod("agent", "DaemonSet", "Running", false),
            pod("static", "Node", "Running", true),
            pod("done", "Job", "Succeeded", false),
        ]});
        let names: Vec<_> = victims(&list)
            .into_iter()
            .map(|victim| victim.name)
            .collect();
        assert_eq!(names, ["web"]);
    }
}
