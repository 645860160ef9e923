//! What the dashboards ask is there.

use crate::Subject;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sextant_integration::{Api, Cluster, eventually, root};
use std::time::Duration;

/// Two readings have to be there before a rate is, and rules look at five minutes.
const DEADLINE: Duration = Duration::from_secs(180);

const IMAGE: &str = concat!("sextant/toolbox:", env!("CARGO_PKG_VERSION"));

/// Jobs of Prometheus with the number of their targets: the parts, and of both nodes their own.
const TARGETS: &[(&str, usize)] = &[
    ("cert-authority", 1),
    // Its own, and its runner's.
    ("collector", 2),
    ("datastore-proxy", 1),
    ("kube-apiserver", 1),
    ("kube-controller-manager", 1),
    ("kube-scheduler", 1),
    ("netpol-controller", 2),
    ("node-agent", 2),
    ("prometheus", 1),
    ("supervisor", 1),
    ("token-service", 1),
    // kube-apiserver, kube-controller-manager, kube-scheduler; kubelet and kube-proxy of two nodes.
    ("upstream", 7),
];

pub fn every_target_answers(subject: &Subject) -> Result<()> {
    for (job, wanted) in TARGETS {
        eventually(job, DEADLINE, || {
            let up = subject
                .prometheus
                .query(&format!("up{{job=\"{job}\"}} == 1"))?;
            ensure!(up.len() == *wanted, "{} of {wanted} answer", up.len());
            Ok(())
        })?;
    }
    Ok(())
}

pub fn every_query_has_an_answer(subject: &Subject) -> Result<()> {
    use_the_cluster(&subject.cluster)?;
    let panels = panels()?;
    ensure!(panels.len() > 80, "only {} panels", panels.len());
    let mut reasons = Vec::new();
    for panel in &panels {
        let answered = eventually(&panel.name, panel.patience(), || {
            for query in &panel.queries {
                if subject.prometheus.query(query)?.is_empty() {
                    bail!("nothing answers {query}");
                }
            }
            Ok(())
        });
        match (answered, &panel.empty) {
            (Ok(()), _) => {}
            // A query that Prometheus doesn't understand has no excuse.
            (Err(error), Some(reason)) if format!("{error:#}").contains("nothing answers") => {
                reasons.push(format!("{}: {reason}", panel.name));
            }
            (Err(error), _) => return Err(error),
        }
    }
    for reason in reasons {
        println!("empty: {reason}");
    }
    Ok(())
}

/// A panel of a dashboard.
struct Panel {
    name: String,
    queries: Vec<String>,
    /// Why it may have nothing to show.
    empty: Option<String>,
}

impl Panel {
    /// What may stay empty isn't waited for.
    fn patience(&self) -> Duration {
        match self.empty {
            Some(_) => Duration::ZERO,
            None => DEADLINE,
        }
    }
}

fn panels() -> Result<Vec<Panel>> {
    let folder = root().join("compose/observability/dashboards");
    let mut panels = Vec::new();
    for entry in std::fs::read_dir(&folder).context("reading the dashboards")? {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let targets = panel["targets"].as_array().into_iter().flatten();
            panels.push(Panel {
                name: format!("{} {}", dashboard["title"], panel["title"]),
                queries: targets.filter_map(|target| text(&target["expr"])).collect(),
                empty: text(&panel["fieldConfig"]["defaults"]["noValue"]),
            });
        }
    }
    Ok(panels)
}

/// So that there is something to count: a pod that starts, and whose log is read through the tunnel.
fn use_the_cluster(cluster: &Cluster) -> Result<()> {
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: seen}}\nspec:\n  containers:\n    \
         - {{name: main, image: \"{IMAGE}\", command: [sh, -c, \"echo hello; sleep 3600\"]}}\n"
    ))?;
    eventually("the pod's log", DEADLINE, || {
        let said = cluster.kubectl(&["logs", "seen"])?;
        ensure!(said == "hello\n", "it said {said:?}");
        Ok(())
    })
}
