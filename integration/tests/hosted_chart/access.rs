//! What the parts' accounts may do in the hosting cluster.

use crate::chart::{NAMESPACE, Rendered, folder, helm, items, objects, outcome, shown, text};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const PARTS: [&str; 6] = [
    "datastore-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "supervisor",
    "token-service",
];

/// Who (without the full name), what, which names (without the full name), how.
type Grant = (String, String, Vec<String>, Vec<String>);

pub fn is_what_the_table_says(helm: &Path) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        let found = grants(&rendered).with_context(|| format!("with {}", rendered.values))?;
        let wanted = wanted(&rendered.values);
        ensure!(
            found == wanted,
            "with {}: {found:#?}, not {wanted:#?}",
            rendered.values
        );
    }
    Ok(())
}

fn wanted(values: &str) -> BTreeSet<Grant> {
    let grant = |who: &str, what: &str, names: &[&str], verbs: &[&str]| {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        (who.to_owned(), what.to_owned(), owned(names), owned(verbs))
    };
    let mut all: BTreeSet<Grant> = PARTS
        .map(|part| grant(part, "configmaps", &["trust"], &["get"]))
        .into();
    let mut authority =
        |what, names, verbs| all.insert(grant("cert-authority", what, names, verbs));
    authority("configmaps", &["trust"], &["get", "patch"]);
    authority("configmaps", &[], &["create"]);
    authority("tokenreviews.authentication.k8s.io", &[], &["create"]);
    for (what, name, verbs) in [
        ("deployments.apps", "supervisor", &["get"][..]),
        ("configmaps", "trust", &["get", "delete"]),
        ("pods", "test", &["get", "delete"]),
    ] {
        all.insert(grant("clean-up", what, &[name], verbs));
    }
    // The values that keep no data.
    if values == "load-balancer" {
        let replicas = (0..16).map(|n| format!("state-cert-authority-{n}"));
        let claims = ["datastore-proxy", "cert-authority"].map(str::to_owned);
        let claims: Vec<String> = claims.into_iter().chain(replicas).collect();
        let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
        for (what, names, verbs) in [
            (
                "secrets",
                &["keyring", "seal", "state"][..],
                &["get", "delete"][..],
            ),
            ("persistentvolumeclaims", &claims, &["get", "delete"]),
            ("persistentvolumeclaims", &[], &["list"]),
        ] {
            all.insert(grant("clean-up", what, names, verbs));
        }
    }
    all.insert(grant("check-upgrade", "configmaps", &["reach"], &["get"]));
    let mut authority =
        |what, names, verbs| all.insert(grant("cert-authority", what, names, verbs));
    if values != "volume" {
        authority("secrets", &["state"], &["get", "patch"]);
        authority("secrets", &["keyring"], &["get"]);
        authority("secrets", &["seal"], &["get"]);
        authority("secrets", &[], &["create"]);
    }
    all
}

/// Every rule of every role, for everybody it is bound to.
fn grants(rendered: &Rendered) -> Result<BTreeSet<Grant>> {
    let mut found = BTreeSet::new();
    let bindings = rendered
        .of_kind("RoleBinding")
        .chain(rendered.of_kind("ClusterRoleBinding"));
    for binding in bindings {
        let kind = text(&binding["roleRef"]["kind"]);
        let role = rendered
            .of_kind(&kind)
            .find(|role| role["metadata"]["name"] == binding["roleRef"]["name"])
            .with_context(|| format!("{} names no role of the chart", shown(binding)))?;
        for subject in items(&binding["subjects"]) {
            ensure!(
                subject["kind"] == "ServiceAccount" && subject["namespace"] == NAMESPACE,
                "{subject}"
            );
            let mut accounts = rendered.of_kind("ServiceAccount");
            ensure!(
                accounts.any(|account| account["metadata"]["name"] == subject["name"]),
                "{subject} isn't made"
            );
            let who = short(rendered, &subject["name"])?;
            for rule in items(&role["rules"]) {
                found.extend(of_rule(rendered, &who, rule)?);
            }
        }
    }
    Ok(found)
}

fn of_rule(rendered: &Rendered, who: &str, rule: &Value) -> Result<Vec<Grant>> {
    ensure!(rule["nonResourceURLs"].is_null(), "{rule}");
    let names = items(&rule["resourceNames"])
        .iter()
        .map(|name| short(rendered, name));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let verbs: Vec<String> = items(&rule["verbs"]).iter().map(text).collect();
    let mut all = Vec::new();
    for group in items(&rule["apiGroups"]) {
        for resource in items(&rule["resources"]) {
            let what = format!("{}.{}", text(resource), text(group));
            let what = what.trim_end_matches('.').to_owned();
            all.push((who.to_owned(), what, names.clone(), verbs.clone()));
        }
    }
    Ok(all)
}

/// A name without the full name of the release.
fn short(rendered: &Rendered, name: &Value) -> Result<String> {
    let name = text(name);
    // Claims of a StatefulSet begin with the volume's name.
    let (volume, ours) = match name.strip_prefix("state-") {
        Some(ours) => ("state-", ours),
        None => ("", name.as_str()),
    };
    let rest = ours
        .strip_prefix(rendered.fullname())
        .and_then(|rest| rest.strip_prefix('-'));
    let rest = rest.with_context(|| format!("{name} doesn't begin with the full name"))?;
    Ok(format!("{volume}{rest}"))
}

/// Kinds without a namespace, and kinds with one that the chart has.
const IN_CLUSTER: [&str; 2] = ["ClusterRole", "ClusterRoleBinding"];
const IN_NAMESPACE: [&str; 17] = [
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodMonitor",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
    "ServiceMonitor",
    "StatefulSet",
    "TLSRoute",
];

pub fn names_in_the_cluster_are_ours_alone(program: &Path) -> Result<()> {
    for rendered in Rendered::all(program)? {
        for object in &rendered.objects {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let in_cluster = IN_CLUSTER.contains(&kind.as_str());
            ensure!(
                in_cluster || IN_NAMESPACE.contains(&kind.as_str()),
                "{kind} is new here"
            );
            let first = if in_cluster {
                format!("{NAMESPACE}.{}.", rendered.fullname())
            } else {
                rendered.fullname().to_owned()
            };
            ensure!(
                name.starts_with(&first),
                "{kind} {name} doesn't begin with {first}"
            );
            ensure!(
                object["metadata"]["namespace"] == json!(null),
                "{kind} {name} has a namespace"
            );
        }
    }
    // A name made by joining with '-' would be the same for these two.
    let (one, other) = (
        in_cluster(program, "a", "b-c")?,
        in_cluster(program, "a-b", "c")?,
    );
    ensure!(
        one.len() == 2 && one.is_disjoint(&other),
        "{one:?} and {other:?}"
    );
    Ok(())
}

/// Names without a namespace that a release has.
fn in_cluster(program: &Path, namespace: &str, fullname: &str) -> Result<BTreeSet<String>> {
    let chart = folder();
    let mut command = helm(
        program,
        &[
            "template",
            "x",
            &chart.to_string_lossy(),
            "--namespace",
            namespace,
        ],
    );
    command.args(["--set", &format!("fullnameOverride={fullname}")]);
    let all = objects(&outcome(&mut command)?.ok()?)?;
    let ours = all
        .iter()
        .filter(|object| IN_CLUSTER.iter().any(|kind| object["kind"] == *kind));
    Ok(ours.map(shown).collect())
}
