//! Network policies: who may reach whom, worked out from the policies and compared with a table.

use crate::chart::{Pod, Rendered, items};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

type Edge = (String, String, u64);

/// Calls that one part makes to another one.
const CALLS: &[(&str, &str, u64)] = &[
    ("token-service", "cert-authority", 7443),
    ("token-service", "datastore-proxy", 2379),
    ("datastore-proxy", "cert-authority", 7443),
    ("supervisor", "cert-authority", 7443),
    ("supervisor", "token-service", 7443),
    ("supervisor", "datastore-proxy", 2379),
    ("supervisor", "supervisor", 7443),
    ("supervisor", "kube-apiserver", 6443),
    ("supervisor", "kube-apiserver", 7443),
    ("supervisor", "kube-controller-manager", 7443),
    ("supervisor", "kube-scheduler", 7443),
    ("kube-apiserver", "cert-authority", 7443),
    ("kube-apiserver", "token-service", 7443),
    ("kube-apiserver", "datastore-proxy", 2379),
    ("kube-apiserver", "supervisor", 7443),
    ("kube-controller-manager", "cert-authority", 7443),
    ("kube-controller-manager", "supervisor", 7443),
    ("kube-controller-manager", "kube-apiserver", 6443),
    ("kube-scheduler", "cert-authority", 7443),
    ("kube-scheduler", "supervisor", 7443),
    ("kube-scheduler", "kube-apiserver", 6443),
];
/// Between replicas on PostgreSQL.
const PEERS: (&str, &str, u64) = ("datastore-proxy", "datastore-proxy", 2380);
/// What everybody may reach.
const PUBLIC: &[(&str, u64)] = &[("kube-apiserver", 6443), ("supervisor", 9443)];
/// Who reads every admin port, at 9090.
const READERS: &[&str] = &["supervisor", "test"];
const STRANGER: &str = "stranger";

pub fn policies_are_the_service_graph(helm: &Path) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        let mut pods = rendered.pods();
        ensure!(
            pods.len() == 8,
            "{} pods with {}",
            pods.len(),
            rendered.values
        );
        let wanted = wanted(&rendered, &pods);
        let context = || format!("with {}", rendered.values);
        outside(&rendered, &pods).with_context(context)?;
        let egress = edges(&pods, |from, to, port| leaves(&rendered, from, to, port));
        same(&egress, &wanted, "egress").with_context(context)?;

        pods.push(stranger());
        let open = pods.iter().flat_map(|from| {
            PUBLIC
                .iter()
                .map(|(to, port)| (from.part.clone(), (*to).to_owned(), *port))
        });
        let wanted = wanted.into_iter().chain(open).collect();
        let ingress = edges(&pods, |from, to, port| enters(&rendered, from, to, port));
        same(&ingress, &wanted, "ingress").with_context(context)?;
    }
    Ok(())
}

fn wanted(rendered: &Rendered, pods: &[Pod]) -> BTreeSet<Edge> {
    let peers = matches!(rendered.values.as_str(), "mysql" | "postgres").then_some(&PEERS);
    let calls = CALLS.iter().chain(peers);
    let calls = calls.map(|(from, to, port)| ((*from).to_owned(), (*to).to_owned(), *port));
    let parts = pods.iter().filter(|pod| pod.part != "test");
    let reads = parts.flat_map(|pod| {
        READERS
            .iter()
            .map(|reader| ((*reader).to_owned(), pod.part.clone(), 9090))
    });
    calls.chain(reads).collect()
}

/// Every pair of pods and every port that the second listens on, as far as `may` allows it.
fn edges(pods: &[Pod], may: impl Fn(&Pod, &Pod, u64) -> bool) -> BTreeSet<Edge> {
    let mut found = BTreeSet::new();
    for (from, to) in pods
        .iter()
        .flat_map(|from| pods.iter().map(move |to| (from, to)))
    {
        for (_, port) in to.ports() {
            if may(from, to, port) {
                found.insert((from.part.clone(), to.part.clone(), port));
            }
        }
    }
    found
}

fn same(found: &BTreeSet<Edge>, wanted: &BTreeSet<Edge>, what: &str) -> Result<()> {
    let more: Vec<_> = found.difference(wanted).collect();
    let less: Vec<_> = wanted.difference(found).collect();
    ensure!(
        more.is_empty() && less.is_empty(),
        "{what}: too much: {more:?}; missing: {less:?}"
    );
    Ok(())
}

fn leaves(rendered: &Rendered, from: &Pod, to: &Pod, port: u64) -> bool {
    rules(rendered, from, "egress")
        .filter(|rule| !is_outside(rule))
        .any(|rule| names(&rule["to"], to) && has_port(rule, port))
}

fn enters(rendered: &Rendered, from: &Pod, to: &Pod, port: u64) -> bool {
    rules(rendered, to, "ingress")
        .any(|rule| (rule["from"].is_null() || names(&rule["from"], from)) && has_port(rule, port))
}

/// The rules of all policies for a pod.
fn rules<'a>(
    rendered: &'a Rendered,
    pod: &'a Pod,
    direction: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let policies = rendered.of_kind("NetworkPolicy");
    policies
        .filter(|policy| selects(&policy["spec"]["podSelector"], &pod.labels))
        .flat_map(move |policy| items(&policy["spec"][direction]))
}

/// Whether a list of peers has this pod, which is in the release's namespace.
fn names(peers: &Value, pod: &Pod) -> bool {
    items(peers).iter().any(|peer| {
        peer["namespaceSelector"].is_null()
            && peer["podSelector"].is_object()
            && selects(&peer["podSelector"], &pod.labels)
    })
}

fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let wanted = wanted.into_iter().flatten();
    selector["matchExpressions"].is_null()
        && wanted
            .into_iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// A rule without ports, or with a port's name, is none that we know.
fn has_port(rule: &Value, port: u64) -> bool {
    items(&rule["ports"])
        .iter()
        .any(|one| one["port"] == port && one["protocol"] == "TCP")
}

/// Whether a rule of egress leads to somewhere that isn't this control plane.
fn is_outside(rule: &Value) -> bool {
    let ours =
        |peer: &Value| peer["podSelector"].is_object() && peer["namespaceSelector"].is_null();
    rule["to"].is_null() || !items(&rule["to"]).iter().all(ours)
}

/// What the graph doesn't show, and that every pod has policies for both directions.
fn outside(rendered: &Rendered, pods: &[Pod]) -> Result<()> {
    for pod in pods {
        let mut policies = rendered.of_kind("NetworkPolicy");
        let both = json!(["Ingress", "Egress"]);
        let has = policies.any(|policy| {
            selects(&policy["spec"]["podSelector"], &pod.labels)
                && policy["spec"]["policyTypes"] == both
        });
        ensure!(has, "{} has no policy", pod.part);
        let found: Vec<&Value> = rules(rendered, pod, "egress")
            .filter(|rule| is_outside(rule))
            .collect();
        let wanted = wanted_outside(&rendered.values, &pod.part);
        ensure!(
            found == wanted.iter().collect::<Vec<_>>(),
            "{}: {found:?}",
            pod.part
        );
    }
    Ok(())
}

fn wanted_outside(values: &str, part: &str) -> Vec<Value> {
    let tcp = |port: u64| json!({"port": port, "protocol": "TCP"});
    let system = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
    let dns = json!({"to": [system], "ports": [{"port": 53, "protocol": "UDP"}, tcp(53)]});
    if part == "test" {
        return vec![dns];
    }
    let api = match values {
        "etcd" => json!({"ports": [tcp(6443)], "to": [{"ipBlock": {"cidr": "203.0.113.1/32"}}]}),
        _ => json!({"ports": [tcp(443), tcp(6443)]}),
    };
    let database = match (values, part) {
        ("postgres", "datastore-proxy") => {
            Some(json!({"ports": [tcp(5432)], "to": [{"ipBlock": {"cidr": "198.51.100.9/32"}}]}))
        }
        ("mysql", "datastore-proxy") => Some(json!({"ports": [tcp(3306)]})),
        ("etcd", "datastore-proxy") => Some(json!({"ports": [tcp(2379), tcp(4379)]})),
        _ => None,
    };
    let collector = match values {
        "routes" => Some(json!([{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
            "podSelector": {"matchLabels": {"app": "collector"}},
        }])),
        "service-monitor" => Some(json!([{"namespaceSelector": {}}])),
        _ => None,
    };
    let collector = collector.map(|peers| json!({"to": peers, "ports": [tcp(4317)]}));
    [dns, api]
        .into_iter()
        .chain(database)
        .chain(collector)
        .collect()
}

/// A pod of somebody else in the same namespace.
fn stranger() -> Pod {
    Pod {
        part: STRANGER.to_owned(),
        labels: Map::from_iter([("app".to_owned(), json!(STRANGER))]),
        spec: Value::Null,
    }
}

/// The arrows between parts in docs/architecture.md are the calls of the table. It leaves out what its text says: that
/// all call cert-authority, and that supervisors call each other.
pub fn the_table_is_the_picture(_: &Path) -> Result<()> {
    let page = std::fs::read_to_string(sextant_project::root().join("docs/architecture.md"))?;
    let (_, picture) = page.split_once("```mermaid").context("no picture")?;
    let (picture, _) = picture
        .split_once("```")
        .context("the picture doesn't end")?;
    let drawn: BTreeSet<(&str, &str)> = picture.lines().filter_map(arrow).collect();
    let calls: BTreeSet<(&str, &str)> = CALLS.iter().map(|(from, to, _)| (*from, *to)).collect();
    let undrawn: Vec<_> = calls.difference(&drawn).collect();
    let unknown: Vec<_> = drawn.difference(&calls).collect();
    ensure!(
        unknown.is_empty(),
        "drawn, but not in the table: {unknown:?}"
    );
    ensure!(
        undrawn
            .iter()
            .all(|(from, to)| *to == "cert-authority" || from == to),
        "in the table, but not drawn: {undrawn:?}"
    );
    ensure!(drawn.len() > 10, "only {drawn:?} was read");
    Ok(())
}

/// `api -- "etcd v3" --> db`, if both are parts that a chart has.
fn arrow(line: &str) -> Option<(&'static str, &'static str)> {
    let (left, to) = line.split_once("-->")?;
    let from = left.split("--").next()?;
    Some((part(from.trim())?, part(to.trim())?))
}

fn part(node: &str) -> Option<&'static str> {
    Some(match node {
        "api" => "kube-apiserver",
        "ca" => "cert-authority",
        "db" => "datastore-proxy",
        "kcm" => "kube-controller-manager",
        "sched" => "kube-scheduler",
        "sup" => "supervisor",
        "tok" => "token-service",
        _ => return None,
    })
}
