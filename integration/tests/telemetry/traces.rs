//! Traces, as the collector wrote them.

use crate::Subject;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sextant_integration::{Cluster, docker_bytes, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const FILE: &str = "/var/lib/collector/traces.jsonl";

/// Through which a join leads.
const SERVICES: [&str; 5] = [
    "cert-authority",
    "datastore-proxy",
    "node-agent",
    "supervisor",
    "token-service",
];

#[derive(Debug)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    /// Empty for a root.
    parent: String,
    /// Traces that it is linked to.
    links: BTreeSet<String>,
}

/// From the agent's start until the node is ready, over all services, for both nodes.
pub fn a_join_is_one_trace(subject: &Subject) -> Result<()> {
    eventually("the traces of two joins", DEADLINE, || {
        let spans = spans(&subject.cluster)?;
        let joins: Vec<&Span> = spans
            .iter()
            .filter(|span| span.service == "node-agent" && span.name == "node_start")
            .collect();
        ensure!(joins.len() == 2, "{} joins", joins.len());
        for join in joins {
            whole(&spans, &join.trace)?;
        }
        Ok(())
    })
}

fn whole(spans: &[Span], trace: &str) -> Result<()> {
    let own: Vec<&Span> = spans.iter().filter(|span| span.trace == trace).collect();
    let services: BTreeSet<&str> = own.iter().map(|span| span.service.as_str()).collect();
    ensure!(
        services == SERVICES.into(),
        "trace {trace} leads through {services:?}"
    );
    let by_id: BTreeMap<&str, &Span> = own.iter().map(|span| (span.id.as_str(), *span)).collect();
    let roots: Vec<_> = own.iter().filter(|span| span.parent.is_empty()).collect();
    ensure!(
        matches!(roots[..], [root] if root.name == "node_start"),
        "trace {trace} has the roots {roots:?}"
    );
    let orphans: Vec<_> = own
        .iter()
        .filter(|span| !span.parent.is_empty() && !by_id.contains_key(span.parent.as_str()))
        .collect();
    ensure!(orphans.is_empty(), "trace {trace} has orphans: {orphans:?}");
    for name in ["containerd_up", "kubelet_and_kube_proxy_up", "node_ready"] {
        ensure!(
            own.iter().any(|span| span.name == name),
            "trace {trace} has no {name}"
        );
    }
    // What it wrote was committed with what others wrote: a trace of its own, which names all it was for.
    ensure!(
        spans
            .iter()
            .any(|span| span.trace != trace && span.links.contains(trace)),
        "no commit is linked to trace {trace}"
    );
    Ok(())
}

fn spans(cluster: &Cluster) -> Result<Vec<Span>> {
    let collector = &cluster.containers("collector")?[0];
    // A tar archive of one file: the lines lie in it as they are.
    let archive = docker_bytes(&["cp", &format!("{collector}:{FILE}"), "-"])?;
    let text = String::from_utf8_lossy(&archive);
    let lines = text
        .lines()
        .filter_map(|line| Some(&line[line.find("{\"resourceSpans\"")?..]));
    let mut spans = Vec::new();
    for line in lines {
        // The last line may be half written.
        let Ok(export) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        collect(&export, &mut spans).with_context(|| format!("reading {line}"))?;
    }
    Ok(spans)
}

fn collect(export: &Value, spans: &mut Vec<Span>) -> Result<()> {
    for resource in list(&export["resourceSpans"]) {
        let attributes = list(&resource["resource"]["attributes"]);
        let service = attributes
            .iter()
            .find(|attribute| attribute["key"] == "service.name")
            .context("a resource without service.name")?;
        let service = text(&service["value"]["stringValue"]);
        for span in list(&resource["scopeSpans"])
            .iter()
            .flat_map(|scope| list(&scope["spans"]))
        {
            spans.push(Span {
                service: service.clone(),
                name: text(&span["name"]),
                trace: text(&span["traceId"]),
                id: text(&span["spanId"]),
                parent: text(&span["parentSpanId"]),
                links: list(&span["links"])
                    .iter()
                    .map(|link| text(&link["traceId"]))
                    .collect(),
            });
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
