//! Volumes in a folder of their node, and what nodes and pods use.

use crate::workloads::{IMAGE, first_pod};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sextant_integration::{Api, Cluster, docker, eventually, run_with_input};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);
const PROVISIONER: &str = "system:serviceaccount:kube-system:local-path-provisioner";

/// A pod that writes its own name once and sleeps; whoever replaces it finds the first one's.
fn keeper() -> String {
    format!(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: kept}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 10Mi}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: keeper}}
spec:
  strategy: {{type: Recreate}}
  selector: {{matchLabels: {{app: keeper}}}}
  template:
    metadata: {{labels: {{app: keeper}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: {IMAGE}
          command: [sh, -c, "[ -f /kept/name ] || hostname > /kept/name; exec sleep 86400"]
          readinessProbe: {{exec: {{command: [test, -s, /kept/name]}}, periodSeconds: 1}}
          securityContext:
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            capabilities: {{drop: [ALL]}}
            seccompProfile: {{type: RuntimeDefault}}
          volumeMounts: [{{name: kept, mountPath: /kept}}]
      volumes:
        - name: kept
          persistentVolumeClaim: {{claimName: kept}}
"#
    )
}

fn kept(cluster: &Cluster) -> Result<String> {
    let pod = first_pod(cluster, "app=keeper")?;
    let name = cluster.kubectl(&["exec", &pod, "--", "cat", "/kept/name"])?;
    Ok(name.trim().to_owned())
}

fn keeper_is_ready(cluster: &Cluster) -> Result<()> {
    let status = ["rollout", "status", "deployment/keeper", "--timeout=90s"];
    cluster.kubectl(&status).map(drop)
}

pub fn volume(cluster: &Cluster) -> Result<()> {
    cluster.apply(&keeper())?;
    keeper_is_ready(cluster)?;
    let first = first_pod(cluster, "app=keeper")?;
    ensure!(
        kept(cluster)? == first,
        "the first pod wrote something else"
    );
    let claim = cluster.get(&["pvc", "kept"])?;
    ensure!(
        claim["status"]["phase"] == "Bound" && claim["spec"]["storageClassName"] == "local-path",
        "the claim: {claim}"
    );
    cluster.kubectl(&["rollout", "restart", "deployment/keeper"])?;
    keeper_is_ready(cluster)?;
    let second = first_pod(cluster, "app=keeper")?;
    ensure!(second != first, "the pod wasn't replaced");
    ensure!(kept(cluster)? == first, "what the first pod wrote is gone");
    no_helper_is_left(cluster)
}

fn no_helper_is_left(cluster: &Cluster) -> Result<()> {
    let selector = "app.kubernetes.io/name=local-path-helper";
    eventually("helper pods to be removed", SOON, || {
        let pods = cluster.kubectl(&["get", "pods", "-n", "kube-system", "-l", selector])?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })
}

/// The provisioner's account may create pods in kube-system and volumes; with its token alone, only its own kind.
pub fn provisioner_rights(cluster: &Cluster) -> Result<()> {
    let pod = |spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "mighty", "namespace": "kube-system"},
            "spec": spec,
        })
    };
    let container = json!([{"name": "c", "image": IMAGE, "securityContext": {"privileged": true}}]);
    let root = json!([{"name": "root", "hostPath": {"path": "/"}}]);
    let mighty = pod(json!({"containers": container, "volumes": root}));
    let masked = pod(json!({
        "serviceAccountName": "local-path-helper",
        "containers": [{
            "name": "c", "image": IMAGE,
            "securityContext": {
                "runAsUser": 0, "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
            },
        }],
        "volumes": [{"name": "out", "hostPath": {"path": "/var/lib/sextant/"}}],
    }));
    let everything = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "everything"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"},
        },
    });
    for (object, policy) in [
        (&mighty, "sextant-local-path-helpers"),
        (&masked, "sextant-local-path-helpers"),
        (&everything, "sextant-local-path-volumes"),
    ] {
        let mut command = cluster.kubectl_command();
        command.args(["create", "--as", PROVISIONER, "-f", "-"]);
        let outcome = run_with_input(&mut command, &object.to_string(), Duration::from_secs(30))?;
        ensure!(
            outcome.code != 0 && outcome.stderr.contains(policy),
            "{} was judged so: {}{}",
            object["metadata"]["name"],
            outcome.stdout,
            outcome.stderr
        );
    }
    Ok(())
}

pub fn metrics(cluster: &Cluster) -> Result<()> {
    let name = "v1beta1.metrics.k8s.io";
    let service = eventually("the metrics API to be available", SOON, || {
        let service = cluster.get(&["apiservice", name])?;
        let conditions = service["status"]["conditions"].as_array();
        let available = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Available" && c["status"] == "True");
        ensure!(available, "{}", service["status"]);
        Ok(service)
    })?;
    ensure!(
        service["spec"]["caBundle"].is_string() && service["spec"]["insecureSkipTLSVerify"] != true,
        "whoever answers is believed: {}",
        service["spec"]
    );
    eventually("every node's and pod's use", SOON, || {
        let nodes = cluster.kubectl(&["top", "nodes", "--no-headers"])?;
        for node in ["node-1", "node-2"] {
            let line = nodes.lines().find(|line| line.starts_with(node));
            let line = line.with_context(|| format!("{node} is not in\n{nodes}"))?;
            ensure!(!line.contains("unknown"), "{line}");
        }
        let pods = cluster.kubectl(&["top", "pods", "-n", "kube-system", "--no-headers"])?;
        ensure!(pods.contains("coredns-"), "{pods}");
        Ok(())
    })?;
    autoscaler(cluster)
}

/// kube-controller-manager reads the same numbers.
fn autoscaler(cluster: &Cluster) -> Result<()> {
    let target = json!({"type": "AverageValue", "averageValue": "900m"});
    cluster.create(&json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }))?;
    eventually("the autoscaler to see how busy the pods are", SOON, || {
        let scaler = cluster.get(&["hpa", "web"])?;
        let conditions = scaler["status"]["conditions"].as_array();
        let active = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "ScalingActive" && c["status"] == "True");
        ensure!(active, "{}", scaler["status"]);
        Ok(())
    })?;
    cluster.kubectl(&["delete", "hpa", "web"]).map(drop)
}

/// After the nodes' containers were made anew. At the end nothing of the volume is left.
pub fn volume_outlives_containers(cluster: &Cluster) -> Result<()> {
    eventually("the keeper to be back", SOON, || {
        let name = kept(cluster)?;
        ensure!(name.starts_with("keeper-"), "it finds {name:?}");
        Ok(())
    })?;
    let claim = cluster.get(&["pvc", "kept"])?;
    let volume = claim["spec"]["volumeName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        folders(cluster)?.contains(&volume),
        "no folder is of {volume}"
    );
    cluster.kubectl(&["delete", "deployment/keeper", "pvc/kept", "--wait=false"])?;
    eventually("the volume to be removed", SOON, || {
        let volumes = cluster.kubectl(&["get", "pv", "--output", "name"])?;
        ensure!(!volumes.contains(&volume), "{volumes}");
        Ok(())
    })?;
    let left = folders(cluster)?;
    ensure!(!left.contains(&volume), "left on the nodes: {left}");
    no_helper_is_left(cluster)
}

/// What is in the nodes' folders of volumes.
fn folders(cluster: &Cluster) -> Result<String> {
    let mut all = String::new();
    for node in ["node-1", "node-2"] {
        let container = &cluster.containers(node)?[0];
        let copy = tempfile::tempdir()?;
        let source = format!("{container}:/var/lib/sextant/volumes");
        // Only the node that the volume is on has the folder.
        if docker(&["cp", &source, &copy.path().display().to_string()]).is_ok() {
            for entry in std::fs::read_dir(copy.path().join("volumes"))? {
                all.push_str(&entry?.file_name().to_string_lossy());
                all.push('\n');
            }
        }
    }
    Ok(all)
}

/// Switched off, an add-on goes, with everything that belongs to it.
pub fn switched_off(cluster: &Cluster) -> Result<()> {
    let off = [
        ("SEXTANT_LOCAL_PATH", "false"),
        ("SEXTANT_METRICS_SERVER", "false"),
    ];
    cluster.compose_with(&off, &["up", "--detach", "--no-deps", "supervisor"])?;
    let kinds = "deployments,serviceaccounts,secrets,configmaps,networkpolicies,services,\
                 clusterroles,clusterrolebindings,roles,rolebindings,storageclasses,apiservices,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let managed = "app.kubernetes.io/managed-by=sextant";
    eventually("everything of both to be gone", SOON, || {
        let get = [
            "get",
            kinds,
            "-n",
            "kube-system",
            "-l",
            managed,
            "-o",
            "name",
        ];
        let objects = cluster.kubectl(&get)?;
        let left: Vec<_> = objects
            .lines()
            // `sextant:kubelet-metrics` is a right of the nodes, whatever add-ons there are.
            .filter(|name| !name.ends_with("/sextant:kubelet-metrics"))
            .filter(|name| name.contains("local-path") || name.contains("metrics"))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        ensure!(objects.contains("deployment.apps/coredns"), "{objects}");
        Ok(())
    })
}
