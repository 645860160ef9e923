//! A release on a real kube-apiserver, which keeps objects and runs nothing, hooks neither: installed, upgraded, rolled back,
//! taken away.

use crate::chart::{NAMESPACE, RELEASE, Rendered, folder};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Every kind that the chart has by itself, as kubectl names them.
const KINDS: &str = "configmaps,deployments,networkpolicies,persistentvolumeclaims,poddisruptionbudgets,rolebindings,roles,\
    secrets,serviceaccounts,services,statefulsets,clusterroles,clusterrolebindings";

pub fn data_alone_outlives_it(helm: &Path) -> Result<()> {
    let Some(server) = Server::start()? else {
        return Ok(());
    };
    let chart = folder();
    let chart = chart.to_string_lossy();
    let run = |arguments: &[&str]| {
        let ended = server.helm(helm, arguments)?.ok();
        ended.with_context(|| format!("helm {arguments:?}"))
    };
    let notes = run(&["install", RELEASE, &chart])?;
    for line in [
        "helm test demo --namespace planes --logs",
        "sextant --hosted planes/demo-sextant kubeconfig --output-file demo-sextant.yaml",
        "sextant --hosted planes/demo-sextant token create --output-file token",
    ] {
        ensure!(notes.contains(line), "no {line:?} in {notes}");
    }
    let installed = ours(&server)?;
    ensure!(installed.len() > 50, "{installed:?}");
    ensure!(replicas(&server)? == 1, "{} replicas", replicas(&server)?);

    run(&[
        "upgrade",
        RELEASE,
        &chart,
        "--no-hooks",
        "--set",
        "kubeApiserver.replicas=3",
    ])?;
    ensure!(
        replicas(&server)? == 3,
        "{} after the upgrade",
        replicas(&server)?
    );
    run(&["rollback", RELEASE, "1", "--no-hooks"])?;
    ensure!(
        replicas(&server)? == 1,
        "{} after the rollback",
        replicas(&server)?
    );
    ensure!(
        ours(&server)? == installed,
        "other objects after the rollback"
    );

    let claim = "persistentvolumeclaim/demo-sextant-datastore-proxy";
    run(&["uninstall", RELEASE, "--no-hooks"])?;
    ensure!(
        ours(&server)? == BTreeSet::from([claim.to_owned()]),
        "left: {:?}",
        ours(&server)?
    );
    let kept = server.kubectl(&["get", claim, "-o", "jsonpath={.metadata.uid}"], "")?;
    run(&["install", RELEASE, &chart])?;
    let found = server.kubectl(&["get", claim, "-o", "jsonpath={.metadata.uid}"], "")?;
    ensure!(
        kept == found && ours(&server)? == installed,
        "the data isn't taken over"
    );
    Ok(())
}

pub fn versions_are_not_skipped(helm: &Path) -> Result<()> {
    let Some(server) = Server::start()? else {
        return Ok(());
    };
    let mut running = apiserver(helm)?;
    running["metadata"]["annotations"] = json!({
        "meta.helm.sh/release-name": RELEASE,
        "meta.helm.sh/release-namespace": NAMESPACE,
    });
    let chart = folder();
    for (version, taken) in [
        ("v1.35.9", false),
        ("v1.36.0", true),
        ("v1.37.0", true),
        ("v1.38.0", false),
    ] {
        running["metadata"]["annotations"]["sextant.dev/kubernetes"] = json!(version);
        server.kubectl(&["apply", "-f", "-"], &running.to_string())?;
        let arguments = [
            "template",
            RELEASE,
            &chart.to_string_lossy(),
            "--dry-run=server",
        ];
        let said = server.helm(helm, &arguments)?;
        let sentence = format!(
            "demo-sextant runs {version}: move one minor version at a time, and never back"
        );
        let refused = said.code != 0 && said.stderr.contains(&sentence);
        ensure!(
            taken == (said.code == 0) && taken != refused,
            "{version}: {}",
            said.stderr
        );
    }
    Ok(())
}

/// The Deployment of kube-apiserver.
fn apiserver(helm: &Path) -> Result<Value> {
    let default = Rendered::named(helm, "default")?;
    let mut deployments = default.of_kind("Deployment");
    let found = deployments.find(|one| one["metadata"]["name"] == "demo-sextant-kube-apiserver");
    Ok(found.context("no kube-apiserver")?.clone())
}

/// What the release has in the server.
fn ours(server: &Server) -> Result<BTreeSet<String>> {
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let all = server.kubectl(&["get", KINDS, "-o", "name", "-l", &selector], "")?;
    Ok(all.lines().map(str::to_owned).collect())
}

/// How many kube-apiservers are wanted.
fn replicas(server: &Server) -> Result<u32> {
    let wanted = [
        "get",
        "deployment",
        "demo-sextant-kube-apiserver",
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    server.kubectl(&wanted, "")?.parse().context("a number")
}
