//! Traces, as the collector wrote them.

use crate::Subject;
use crate::written::{Spans, names, services, whole};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sextant_cli::trace::Span;
use sextant_integration::{Api as _, eventually};
use std::collections::BTreeSet;
use std::time::Duration;

/// Exports come every five seconds, the files a second later.
const DEADLINE: Duration = Duration::from_secs(90);
/// What is stored and stands in no trace.
const CONTENT: &str = "what-a-config-map-says-0123";
const IMAGE: &str = concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION"));

/// From the agent's start until the node is ready, over all services, for both nodes.
pub fn a_join_is_one_trace(subject: &Subject) -> Result<()> {
    let through = [
        "cert-authority",
        "datastore-proxy",
        "node-agent",
        "supervisor",
        "token-service",
    ];
    eventually("the traces of two joins", DEADLINE, || {
        let spans = Spans::read(&subject.cluster)?;
        let joins = spans.roots("node-agent", "node_start");
        ensure!(joins.len() == 2, "{} joins", joins.len());
        for join in joins {
            let trace = spans.trace(&join.trace);
            whole(&trace, "node_start")?;
            ensure!(services(&trace) == through.into(), "{:?}", services(&trace));
            for name in ["containerd_up", "kubelet_and_kube_proxy_up", "node_ready"] {
                ensure!(names(&trace).contains(name), "no {name}");
            }
            // What it wrote was committed with what others wrote: a trace of its own, which names all it was for.
            ensure!(!trace.linked.is_empty(), "no commit is linked to it");
        }
        Ok(())
    })?;
    let told = subject
        .cluster
        .sextant(&["trace", "join", "node-1"])?
        .ok()?;
    ensure!(told.contains("node_ready"), "{told}");
    Ok(())
}

/// Through kube-apiserver and datastore-proxy until it is committed, and found by its audit id.
pub fn an_apply_is_one_trace(subject: &Subject) -> Result<()> {
    let cluster = &subject.cluster;
    let manifest = tempfile::NamedTempFile::new()?;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "traced"},
        "data": {"k": CONTENT}});
    std::fs::write(manifest.path(), object.to_string())?;
    let path = manifest.path().to_str().context("a path that is text")?;
    let applied = cluster.kubectl_outcome(&["apply", "--server-side", "-f", path, "-v=8"])?;
    let audit_ids = applied.stderr.split("Audit-Id: ").skip(1);
    let audit_id = audit_ids
        .last()
        .and_then(|rest| rest.split_whitespace().next());
    let audit_id = audit_id.with_context(|| format!("no Audit-Id in {applied:?}"))?;

    eventually("the trace of an apply", DEADLINE, || {
        let spans = Spans::read(cluster)?;
        let request = spans.find(|span| span.is("audit-id", audit_id))?;
        let trace = spans.trace(&request.trace);
        whole(
            &trace,
            "PATCH /api/v1/namespaces/{:namespace}/configmaps/{:name}",
        )?;
        let through = ["apiserver", "datastore-proxy"];
        ensure!(services(&trace) == through.into(), "{:?}", services(&trace));
        ensure!(names(&trace).contains("commit.wait"), "{:?}", names(&trace));
        let commit = trace.linked.iter().find(|batch| {
            let statement = batch.children.iter().map(|child| child.span.name.as_str());
            batch.span.name == "commit" && statement.eq(["committing"])
        });
        let commit = commit.with_context(|| format!("no commit is linked: {:?}", trace.linked))?;
        let statement = commit.children[0].span.attributes.get("db.query.text");
        let statement = statement.context("a commit without its statement")?;
        ensure!(statement.contains("INSERT INTO log"), "{statement}");
        ensure!(!statement.contains(CONTENT), "{statement}");
        Ok(())
    })?;
    let told = cluster.sextant(&["trace", "request", audit_id, "-o", "json"])?;
    let told: serde_json::Value = serde_json::from_str(&told.ok()?)?;
    ensure!(told["linked"][0]["name"] == "commit", "{told}");
    let told = cluster.sextant(&["trace", "request", audit_id])?.ok()?;
    ensure!(told.contains("INSERT INTO log"), "{told}");
    Ok(())
}

/// kubelet and containerd in one trace; the policy hook, which takes no parent from them, in one with
/// netpol-controller. The pod's uid is on both.
pub fn a_pod_start_shows_its_steps(subject: &Subject) -> Result<()> {
    let cluster = &subject.cluster;
    cluster.kubectl(&["run", "traced", "--image", IMAGE, "--", "sleep", "3600"])?;
    let pod = cluster.get(&["pod", "traced"])?;
    let uid = pod["metadata"]["uid"]
        .as_str()
        .context("a pod without uid")?;
    eventually("the traces of a pod's start", DEADLINE, || {
        let spans = Spans::read(cluster)?;
        let sandbox =
            |span: &Span| span.service == "containerd" && span.name.contains("RunPodSandbox");
        let of_pod = |span: &&Span| span.service == "kubelet" && span.is("k8s.pod.uid", uid);
        let starts: Vec<_> = spans
            .all()
            .filter(of_pod)
            .map(|span| spans.trace(&span.trace))
            .filter(|trace| trace.spans().any(sandbox))
            .collect();
        let start = starts.first().context("kubelet started no sandbox")?;
        whole(start, "syncPod")?;
        let through = BTreeSet::from(["containerd", "kubelet"]);
        ensure!(services(start) == through, "{:?}", services(start));
        let ran = start
            .spans()
            .any(|span| span.name.contains("StartContainer"));
        ensure!(ran, "no StartContainer in {:?}", names(start));

        let hook =
            spans.find(|span| span.name == "ensure_policy" && span.is("k8s.pod.uid", uid))?;
        let hook = spans.trace(&hook.trace);
        whole(&hook, "ensure_policy")?;
        let through = BTreeSet::from(["netpol-controller", "sextant-policy"]);
        ensure!(services(&hook) == through, "{:?}", services(&hook));
        Ok(())
    })?;
    let told = cluster.sextant(&["trace", "pod", "traced"])?.ok()?;
    ensure!(told.contains("cni.Setup"), "{told}");
    ensure!(told.contains("ensure_policy"), "{told}");
    cluster
        .kubectl(&["delete", "pod", "traced", "--now"])
        .map(drop)
}

/// What the supervisor applies.
pub fn addons_are_applied_in_one_trace(subject: &Subject) -> Result<()> {
    eventually("the trace of the add-ons", DEADLINE, || {
        let spans = Spans::read(&subject.cluster)?;
        let rounds = spans.roots("supervisor", "addons.apply");
        let traces = rounds.iter().map(|round| spans.trace(&round.trace));
        let mut counts = Vec::new();
        for trace in traces {
            whole(&trace, "addons.apply")?;
            let objects = trace.spans().filter(|span| span.name == "object.apply");
            counts.push(objects.count());
        }
        ensure!(counts.iter().any(|count| *count > 20), "{counts:?} objects");
        Ok(())
    })
}

/// A certificate that lives so short that it is renewed while we look.
pub fn a_rotation_is_one_trace(subject: &Subject) -> Result<()> {
    let cluster = &subject.cluster;
    let again = ["up", "--detach", "--no-deps", "--wait", "cert-authority"];
    cluster.compose_with(&[("SEXTANT_MESH_SECONDS", "60")], &again)?;
    cluster.compose(&["restart", "token-service"])?;
    eventually("the trace of a renewal", DEADLINE, || {
        let spans = Spans::read(cluster)?;
        let renewals = spans.roots("token-service", "certificate.renew");
        let renewal = renewals.last().context("nothing was renewed")?;
        let trace = spans.trace(&renewal.trace);
        whole(&trace, "certificate.renew")?;
        let ends = renewal.attributes.get("tls.client.not_after");
        ensure!(ends.is_some(), "when does the new one end? {renewal:?}");
        let through = BTreeSet::from(["cert-authority", "token-service"]);
        ensure!(services(&trace) == through, "{:?}", services(&trace));
        Ok(())
    })?;
    cluster.compose(&again).map(drop)
}
