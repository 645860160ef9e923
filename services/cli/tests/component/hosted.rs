//! `--hosted`: the hosting cluster is a real kube-apiserver, asked with no more rights than an operator needs.

use crate::cluster::Cluster;
use serde_json::json;
use sextant_testkit::HostingCluster;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

const PLANE: &str = "--hosted tenant/plane";

/// What the chart and cert-authority put into the namespace; the operator's kubeconfig.
async fn install(hosting: &HostingCluster, cluster: &Cluster) -> PathBuf {
    hosting.namespace("tenant").await;
    hosting.account("tenant", "plane-admin").await;
    let home = cluster.home.path();
    let reach = json!({"supervisor": cluster.address, "apiserver": "192.0.2.7:6443",
        "audience": "sextant:tenant:plane"});
    let trust = json!({"ca.pem": std::fs::read_to_string(home.join("volume/ca.pem")).unwrap()});
    for (name, data) in [("plane-reach", reach), ("plane-trust", trust)] {
        let map = json!({"metadata": {"name": name}, "data": data});
        hosting
            .make("/api/v1/namespaces/tenant/configmaps", &map)
            .await;
    }
    let operator = hosting.account("tenant", "operator").await;
    operator
        .grant(json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
                "resourceNames": ["plane-reach", "plane-trust"]},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"],
                "resourceNames": ["plane-admin"]},
        ]))
        .await;
    let pod = operator.pod().await;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "away",
        "clusters": [{"name": "hosting", "cluster": {
            "server": format!("https://{}", hosting.address()),
            "certificate-authority": pod.folder.join("ca.crt")}}],
        "users": [{"name": "operator", "user": {"tokenFile": pod.folder.join("token")}},
            {"name": "nobody", "user": {"token": "x"}}],
        "contexts": [
            {"name": "hosting", "context": {"cluster": "hosting", "user": "operator"}},
            {"name": "away", "context": {"cluster": "hosting", "user": "nobody"}},
        ],
    });
    let path = home.join("hosting.yaml");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

fn run(cluster: &Cluster, rest: &str, kubeconfig: &Path) -> crate::cluster::Outcome {
    let line = format!(
        "sextant {PLANE} --kubeconfig {} {rest}",
        kubeconfig.display()
    );
    cluster.run(&line, OffsetDateTime::now_utc())
}

#[test]
fn the_hosting_cluster_makes_administrators() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(hosting) = runtime.block_on(HostingCluster::start()) else {
        return;
    };
    let cluster = Cluster::start();
    let kubeconfig = runtime.block_on(install(&hosting, &cluster));

    let status = run(&cluster, "--kube-context hosting status", &kubeconfig);
    assert_eq!(status.code(), 0, "{}", status.out);
    assert_eq!(cluster.calls(), ["Enroll", "Status"]);
    let audience = "sextant:tenant:plane";
    let (shown, admin) = (cluster.account(), hosting.admin());
    let review = runtime.block_on(admin.review(&shown, audience)).unwrap();
    assert_eq!(
        review.user.username,
        "system:serviceaccount:tenant:plane-admin"
    );
    assert_eq!(review.audiences, [audience]);
    // Its certificates have a folder of their own, which a second run uses.
    assert!(
        cluster
            .home
            .path()
            .join("state/tenant.plane/admin.json")
            .exists()
    );
    run(&cluster, "--kube-context hosting status", &kubeconfig).code();
    assert_eq!(cluster.calls(), ["Status"]);

    let refused = run(&cluster, "status --context other", &kubeconfig);
    assert!(
        refused.message().contains("ConfigMap plane-reach"),
        "{}",
        refused.message()
    );
    assert_eq!(refused.result.unwrap_err().exit_code(), 3);
    let nobody = "--kube-context hosting --server 127.0.0.1:1 status";
    let nobody = run(&cluster, nobody, &kubeconfig).message();
    assert!(
        nobody.contains("kubectl get pods --namespace tenant") && !nobody.contains("make up"),
        "{nobody}"
    );
    pinned(&cluster, &kubeconfig);
    runtime.block_on(async { drop(hosting) });
}

/// kubectl calls us with KUBECONFIG naming the hosted cluster's kubeconfig, and contexts are switched.
fn pinned(cluster: &Cluster, kubeconfig: &Path) {
    let file = format!("--kubeconfig\n      - {}\n", kubeconfig.display());
    let made = run(cluster, "--kube-context hosting kubeconfig", kubeconfig);
    for wanted in [
        "- --hosted\n      - tenant/plane\n",
        "- --kube-context\n      - hosting\n",
        "- --context\n      - tenant.plane\n",
        &file,
    ] {
        assert!(made.out.contains(wanted), "{wanted} in {}", made.out);
    }
    assert!(!made.out.contains("--server"), "{}", made.out);
}
