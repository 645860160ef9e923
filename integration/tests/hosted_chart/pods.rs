//! What every pod has, whatever the values are.

use crate::chart::{Pod, Rendered, items, shown, text};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Kinds of volumes that the restricted level allows.
const VOLUMES: &[&str] = &[
    "configMap",
    "emptyDir",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Calls `check` with every pod of every rendering.
fn each(helm: &Path, check: impl Fn(&Rendered, &Pod) -> Result<()>) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        for pod in rendered.pods().into_iter().chain(rendered.hooks()) {
            check(&rendered, &pod)
                .with_context(|| format!("{} with {}: {}", pod.part, rendered.values, pod.spec))?;
        }
    }
    Ok(())
}

pub fn are_restricted(helm: &Path) -> Result<()> {
    each(helm, |rendered, pod| {
        let spec = &pod.spec;
        for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            ensure!(spec[field].is_null(), "{field}");
        }
        let context = &spec["securityContext"];
        ensure!(
            context["runAsNonRoot"] == true && context["runAsUser"] == 65532,
            "user"
        );
        ensure!(
            context["seccompProfile"] == json!({"type": "RuntimeDefault"}),
            "seccomp"
        );
        for container in pod.containers() {
            let context = &container["securityContext"];
            ensure!(context["allowPrivilegeEscalation"] == false, "escalation");
            ensure!(
                context["readOnlyRootFilesystem"] == true,
                "root file system"
            );
            ensure!(
                context["capabilities"] == json!({"drop": ["ALL"]}),
                "capabilities"
            );
            ensure!(context["privileged"].is_null(), "privileged");
            ensure!(
                items(&container["ports"])
                    .iter()
                    .all(|one| one["hostPort"].is_null()),
                "host port"
            );
            let hidden = |one: &Value| one["valueFrom"]["secretKeyRef"].is_null();
            ensure!(
                items(&container["env"]).iter().all(hidden),
                "a secret in the environment"
            );
        }
        ensure!(spec["initContainers"].is_null(), "init containers");
        for volume in items(&spec["volumes"]) {
            let kinds = volume.as_object().context("a volume")?.keys();
            let mut kinds = kinds.filter(|key| *key != "name");
            ensure!(
                kinds.all(|kind| VOLUMES.contains(&kind.as_str())),
                "{volume}"
            );
        }
        // Services called sextant-… would otherwise set variables that are read as settings.
        ensure!(spec["enableServiceLinks"] == false, "service links");
        let accounts: &[&str] = match pod.part.as_str() {
            "test" => &[""],
            "hook" => &["-check-upgrade", "-clean-up"],
            part => &[&format!("-{part}")],
        };
        let account = text(&spec["serviceAccountName"]);
        let account = account.trim_start_matches(rendered.fullname());
        ensure!(accounts.contains(&account), "account {account}");
        ensure!(
            spec["automountServiceAccountToken"] == (pod.part != "test"),
            "token"
        );
        Ok(())
    })
}

/// Hooks and the test, too: else an upgrade would wait for a pod that no node may run.
pub fn run_where_they_are_told(helm: &Path) -> Result<()> {
    let rendered = Rendered::set(helm, "defaults.nodeSelector.disk=ssd")?;
    let pods = rendered.pods().into_iter().chain(rendered.hooks());
    ensure!(pods.count() == 10, "some pods aren't looked at");
    for pod in rendered.pods().into_iter().chain(rendered.hooks()) {
        let wanted = json!({"disk": "ssd"});
        ensure!(
            pod.spec["nodeSelector"] == wanted,
            "{}: {}",
            pod.part,
            pod.spec
        );
    }
    Ok(())
}

/// Whatever else is set.
pub fn none_runs_asleep(helm: &Path) -> Result<()> {
    let value = "asleep=true,supervisor.replicas=3,kubeApiserver.autoscaling.enabled=true";
    let rendered = Rendered::set(helm, value)?;
    for kind in ["Deployment", "StatefulSet"] {
        for workload in rendered.of_kind(kind) {
            ensure!(workload["spec"]["replicas"] == 0, "{}", shown(workload));
        }
    }
    let autoscalers = rendered.of_kind("HorizontalPodAutoscaler").count();
    ensure!(autoscalers == 0, "{autoscalers} autoscalers would wake it");
    Ok(())
}

/// Each part has the files that its variables name, and none of them where they aren't set.
pub fn know_their_collector(helm: &Path) -> Result<()> {
    let variables = |pod: &Pod| -> Vec<(String, String)> {
        let all = pod.environment().into_iter();
        all.filter(|(name, _)| name.starts_with("OTEL_EXPORTER_"))
            .collect()
    };
    let files = |items: &[&str]| -> Vec<Value> {
        items
            .iter()
            .map(|key| json!({"key": key, "path": key}))
            .collect()
    };
    let endpoint = "https://collector:4317";
    let secret = format!("telemetry.otlpEndpoint={endpoint},telemetry.tlsSecret.name=ours");
    let both = format!("{secret},telemetry.tlsSecret.clientCertificate=true");
    let of = |names: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, file): &(&str, &str)| {
            (
                format!("OTEL_EXPORTER_OTLP_{name}"),
                format!("/etc/sextant-collector/{file}"),
            )
        };
        let first = (
            "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            endpoint.to_owned(),
        );
        std::iter::once(first)
            .chain(names.iter().map(owned))
            .collect()
    };
    for (values, wanted, keys) in [
        (
            &secret,
            of(&[("CERTIFICATE", "ca.crt")]),
            files(&["ca.crt"]),
        ),
        (
            &both,
            of(&[
                ("CERTIFICATE", "ca.crt"),
                ("CLIENT_CERTIFICATE", "tls.crt"),
                ("CLIENT_KEY", "tls.key"),
            ]),
            files(&["ca.crt", "tls.crt", "tls.key"]),
        ),
    ] {
        for pod in Rendered::set(helm, values)?.pods() {
            if pod.part == "test" {
                continue;
            }
            ensure!(
                variables(&pod) == wanted,
                "{}: {:?}",
                pod.part,
                variables(&pod)
            );
            let volume = json!({"name": "collector", "projected": {"defaultMode": 0o440,
                "sources": [{"secret": {"name": "ours", "items": keys}}]}});
            let mount = json!({"name": "collector", "mountPath": "/etc/sextant-collector", "readOnly": true});
            ensure!(
                items(&pod.spec["volumes"]).contains(&volume),
                "{}",
                pod.spec
            );
            ensure!(
                items(&pod.containers()[0]["volumeMounts"]).contains(&mount),
                "{}",
                pod.spec
            );
        }
    }
    for pod in Rendered::named(helm, "default")?.pods() {
        ensure!(variables(&pod).is_empty(), "{}", pod.part);
        let has = items(&pod.spec["volumes"])
            .iter()
            .any(|one| one["name"] == "collector");
        ensure!(!has, "{}", pod.spec);
    }
    Ok(())
}

pub fn have_resources_and_probes(helm: &Path) -> Result<()> {
    each(helm, |_, pod| {
        for container in pod.containers() {
            let resources = &container["resources"];
            for path in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                ensure!(resources.pointer(path).is_some(), "no {path}");
            }
            if ["test", "hook"].contains(&pod.part.as_str()) {
                continue;
            }
            let program = match pod.part.strip_prefix("kube-") {
                Some(_) => "runner",
                None => &pod.part,
            };
            ensure!(
                container["startupProbe"]["exec"]["command"]
                    == json!([
                        format!("/usr/local/bin/{program}"),
                        "healthcheck",
                        "--wait=10"
                    ]),
                "what it waits for isn't in its events"
            );
            let timeout = &container["startupProbe"]["timeoutSeconds"];
            ensure!(timeout.as_u64() > Some(10), "it is cut short");
            let probe = |name: &str| container[name]["httpGet"].clone();
            ensure!(
                probe("readinessProbe") == json!({"path": "/readyz", "port": "admin"}),
                "readiness"
            );
            ensure!(
                probe("livenessProbe") == json!({"path": "/livez", "port": "admin"}),
                "liveness"
            );
            ensure!(
                pod.ports().contains(&("admin".to_owned(), 9090)),
                "no admin port"
            );
        }
        Ok(())
    })
}

/// Seconds to drain, the services' own defaults in docs/configuration.md.
pub fn end_after_they_drained(helm: &Path) -> Result<()> {
    each(helm, |_, pod| {
        if ["test", "hook"].contains(&pod.part.as_str()) {
            return Ok(());
        }
        let drain = if pod.part.starts_with("kube-") {
            30
        } else {
            10
        };
        let grace = pod.spec["terminationGracePeriodSeconds"].as_i64();
        ensure!(grace > Some(drain) && grace < Some(drain + 15), "{grace:?}");
        ensure!(
            pod.containers()
                .iter()
                .all(|one| one["lifecycle"].is_null()),
            "a hook"
        );
        Ok(())
    })
}
