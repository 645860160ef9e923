//! What is done to the cluster.

use super::{Fault, Scene, Told};
use anyhow::{Context, Result};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::json;
use sextant_integration::{Api, Cluster, docker};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Refuses to send a node's packets to the join port, over which its session goes.
const CUT: &str = "add table inet cut; \
    add chain inet cut output { type filter hook output priority 0; }; \
    add rule inet cut output tcp dport 9443 reject with tcp reset";

/// Takes the policies' table away, and keeps everybody else from the one in its place.
const OWN: &str =
    "delete table inet sextant-netpol; add table inet sextant-netpol { flags owner; }\n";

/// A webhook that nobody serves is asked about these ConfigMaps.
const WEBHOOK: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: broken}
webhooks:
  - name: broken.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    objectSelector: {matchLabels: {webhook: broken}}
    clientConfig: {service: {name: broken, namespace: default}}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
"#;

pub const FAULTS: &[Fault] = &[
    Fault {
        alerts: &[
            once("TargetDown", &[("job", "collector")]),
            once("TelemetryLost", &[]),
        ],
        begin: |scene| compose(scene, "stop", "collector"),
        end: |scene| compose(scene, "start", "collector"),
        about: "collector",
        unhurried: true,
    },
    Fault {
        alerts: &[Told {
            alert: "ComponentCrashes",
            labels: &[("job", "kube-scheduler")],
            act: |scene| kill(cluster(scene), "kube-scheduler", "kube-scheduler"),
        }],
        begin: nothing,
        end: nothing,
        about: "kube-scheduler",
        unhurried: false,
    },
    Fault {
        alerts: &[Told {
            alert: "NodeChildCrashes",
            labels: &[("node", "node-2")],
            act: |scene| kill(cluster(scene), "node-2", "kube-proxy"),
        }],
        begin: nothing,
        end: nothing,
        about: "node-2",
        unhurried: false,
    },
    Fault {
        alerts: &[
            once("NodeSessionLost", &[("node", "node-1")]),
            Told {
                alert: "TunnelStalls",
                labels: &[],
                act: ask_for_logs,
            },
        ],
        begin: |scene| nft(cluster(scene), "node-1", CUT),
        end: |scene| nft(cluster(scene), "node-1", "delete table inet cut"),
        about: "node-1",
        unhurried: false,
    },
    Fault {
        alerts: &[Told {
            alert: "ApiErrorBudgetBurn",
            labels: &[],
            act: write_config_maps,
        }],
        begin: |scene| cluster(scene).apply(WEBHOOK).map(drop),
        end: |scene| {
            let delete = ["delete", "validatingwebhookconfiguration", "broken"];
            cluster(scene).kubectl(&delete).map(drop)
        },
        about: "kube-apiserver",
        unhurried: false,
    },
    Fault {
        alerts: &[once("PolicyNotInForce", &[("node", "node-2")])],
        begin: |scene| scene.owner.begin(cluster(scene), "node-2"),
        end: |scene| scene.owner.end(),
        about: "node-2",
        unhurried: false,
    },
];

const fn once(alert: &'static str, labels: &'static [(&'static str, &'static str)]) -> Told {
    Told {
        alert,
        labels,
        act: nothing,
    }
}

fn nothing(_: &Scene<'_>) -> Result<()> {
    Ok(())
}

fn cluster<'a>(scene: &Scene<'a>) -> &'a Cluster {
    &scene.subject.cluster
}

fn compose(scene: &Scene<'_>, what: &str, service: &str) -> Result<()> {
    cluster(scene).compose(&[what, service]).map(drop)
}

/// kill -9 of the processes of a container that run this program.
fn kill(cluster: &Cluster, service: &str, program: &str) -> Result<()> {
    let container = &cluster.containers(service)?[0];
    let listed = docker(&["top", container, "-eo", "pid,comm"])?;
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(pid), Some(name)) = (words.next(), words.next())
            && name == program
        {
            // It may have ended meanwhile.
            let _ = signal::kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
        }
    }
    Ok(())
}

fn nft(cluster: &Cluster, node: &str, commands: &str) -> Result<()> {
    let container = &cluster.containers(node)?[0];
    docker(&["exec", container, "/usr/sbin/nft", commands]).map(drop)
}

/// Of a pod whose node can't be reached.
fn ask_for_logs(scene: &Scene<'_>) -> Result<()> {
    let pod = scene.netpol_controller("node-1")?;
    let logs = ["logs", "--namespace=kube-system", "--tail=1", &pod];
    // That it fails is what is counted.
    cluster(scene).kubectl_outcome(&logs).map(drop)
}

/// Twenty at once, so that they are more than one in a hundred of all requests.
fn write_config_maps(scene: &Scene<'_>) -> Result<()> {
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "broken-", "namespace": "default", "labels": {"webhook": "broken"}},
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": vec![config_map; 20]});
    // It fails as soon as kube-apiserver knows the webhook.
    let _ = cluster(scene).create(&list);
    Ok(())
}

/// A program in a node that owns the table of its policies, as long as it runs.
#[derive(Default)]
pub struct Owner(Mutex<Option<Child>>);

impl Owner {
    fn begin(&self, cluster: &Cluster, node: &str) -> Result<()> {
        let container = &cluster.containers(node)?[0];
        let mut owner = Command::new("docker")
            .args([
                "exec",
                "--interactive",
                container,
                "/usr/sbin/nft",
                "--interactive",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = owner.stdin.as_mut().context("no input")?;
        input.write_all(OWN.as_bytes())?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        Ok(())
    }

    /// It ends with its input.
    fn end(&self) -> Result<()> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut owner) = owner {
            drop(owner.stdin.take());
            owner.wait()?;
        }
        Ok(())
    }
}
