//! Parts that die, a hosting node that is emptied, a hosting cluster that no longer reviews tokens.

use crate::tenants::fetch;
use crate::world::{SOON, World, text};
use anyhow::{Result, ensure};
use sextant_integration::{Api, PARTS, eventually};

/// Pods of A, one part after the other, without a word of warning; B's don't notice.
pub fn kill_each(world: &World) -> Result<()> {
    let (a, b) = (&world.a, &world.b);
    let uids = || -> Result<Vec<String>> {
        let mut uids = Vec::new();
        for part in PARTS {
            for pod in world.pods(b, part)? {
                uids.push(format!(
                    "{} {}",
                    text(&pod, "/metadata/uid")?,
                    pod["status"]["containerStatuses"][0]["restartCount"]
                ));
            }
        }
        Ok(uids)
    };
    let before = uids()?;
    for (round, part) in PARTS.iter().enumerate() {
        a.kubectl(&[
            "create",
            "configmap",
            &format!("kept-{round}"),
            "--from-literal=part=before",
        ])?;
        for pod in world.pods(a, part)? {
            let name = text(&pod, "/metadata/name")?;
            world.host.kubectl(&[
                "delete",
                "pod",
                name,
                "-n",
                a.name(),
                "--grace-period=0",
                "--force",
            ])?;
        }
        world.wait_whole(a)?;
        let kept = a.get(&["configmap", &format!("kept-{round}")])?;
        ensure!(
            kept["data"]["part"] == "before",
            "after {part} was killed: {kept}"
        );
        eventually("exec works", SOON, || fetch(a))
            .map_err(|e| e.context(format!("after {part} was killed")))?;
    }
    ensure!(
        uids()? == before,
        "B's pods: {before:?}, then {:?}",
        uids()?
    );
    Ok(())
}

/// New parts can't enrol and say why; what runs goes on.
pub fn without_token_review(world: &World) -> Result<()> {
    let a = &world.a;
    let binding = format!("{0}.{0}.token-reviewer", a.name());
    let mut kept = world.host.get(&["clusterrolebinding", &binding])?;
    kept["metadata"] = serde_json::json!({
        "name": binding, "labels": kept["metadata"]["labels"], "annotations": kept["metadata"]["annotations"]
    });
    world
        .host
        .kubectl(&["delete", "clusterrolebinding", &binding])?;
    let outcome = says_what_it_waits_for(world);
    world.host.apply(&kept.to_string())?;
    outcome?;
    world.wait_whole(a)
}

fn says_what_it_waits_for(world: &World) -> Result<()> {
    let a = &world.a;
    for pod in world.pods(a, "token-service")? {
        let name = text(&pod, "/metadata/name")?;
        world
            .host
            .kubectl(&["delete", "pod", name, "-n", a.name(), "--wait=false"])?;
    }
    an_event_says(
        world,
        &["enrolling as service/token-service", "tokenreviews"],
    )?;
    a.kubectl(&["create", "configmap", "without-review"])
        .map(drop)
}

/// kube-controller-manager may be no newer than any kube-apiserver: while none is there it isn't started, and its pod says so.
pub fn withheld(world: &World) -> Result<()> {
    let a = &world.a;
    let servers = format!("deployment/{}-kube-apiserver", a.name());
    let scale = |replicas| {
        let arguments = ["scale", &servers, replicas, "-n", a.name()];
        world.host.kubectl(&arguments).map(drop)
    };
    scale("--replicas=0")?;
    let outcome = says_that_it_is_withheld(world);
    scale("--replicas=1")?;
    outcome?;
    world.wait_whole(a)
}

fn says_that_it_is_withheld(world: &World) -> Result<()> {
    let a = &world.a;
    eventually("no kube-apiserver is there", SOON, || {
        let selector = "app.kubernetes.io/component=kube-apiserver";
        let pods = world.host.get(&["pods", "-n", a.name(), "-l", selector])?;
        let pods = pods["items"].as_array().map_or(0, Vec::len);
        ensure!(pods == 0, "{pods}");
        Ok(())
    })?;
    let selector = "app.kubernetes.io/component=kube-controller-manager";
    let delete = [
        "delete",
        "pod",
        "-n",
        a.name(),
        "-l",
        selector,
        "--wait=false",
    ];
    world.host.kubectl(&delete)?;
    an_event_says(world, &["waiting until every kube-apiserver has v1."])
}

/// Waits until kubelet shows all these words among what a probe of a pod of A's said.
fn an_event_says(world: &World, words: &[&str]) -> Result<()> {
    eventually(&format!("an event says {words:?}"), SOON, || {
        let unhealthy = "--field-selector=reason=Unhealthy";
        let events = world
            .host
            .get(&["events", "-n", world.a.name(), unhealthy])?;
        let said = events["items"].as_array().into_iter().flatten();
        let said: Vec<_> = said.filter_map(|event| event["message"].as_str()).collect();
        let told = |said: &&str| words.iter().all(|word| said.contains(word));
        ensure!(said.iter().any(told), "{said:#?}");
        Ok(())
    })
}

/// A hosting node with parts of both planes on it.
pub fn drain(world: &World) -> Result<()> {
    let drain = [
        "drain",
        "node-2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=170s",
    ];
    let drained = world.host.kubectl(&drain);
    let left = world
        .host
        .get(&["pods", "-A", "--field-selector=spec.nodeName=node-2"]);
    world.host.kubectl(&["uncordon", "node-2"])?;
    drained?;
    for pod in left?["items"].as_array().into_iter().flatten() {
        ensure!(
            pod["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet",
            "left on node-2: {}",
            pod["metadata"]["name"]
        );
    }
    for tenant in [&world.a, &world.b] {
        world.wait_whole(tenant)?;
        eventually("exec works", SOON, || fetch(tenant))?;
    }
    Ok(())
}
