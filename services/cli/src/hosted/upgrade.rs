//! `sextant hosted check-upgrade`, which the chart runs before an upgrade moves anything.
use super::rules::{Facts, KUBERNETES, refusals};
use crate::Error;
use crate::enrol::Hosted;
use crate::output::View;
use serde::Serialize;
use sextant_kit::http::get;
use std::time::Duration;
use time::OffsetDateTime;

const DEADLINE: Duration = Duration::from_secs(10);
/// Metrics of a supervisor, several times over.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Whether the upgrade may be, and what speaks against it.
#[derive(Debug, Serialize)]
pub struct Verdict {
    refused: Vec<String>,
}

impl Verdict {
    /// Whether nothing speaks against it.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.refused.is_empty()
    }
}

impl View for Verdict {
    fn table(&self, _: OffsetDateTime) -> String {
        if self.is_fine() {
            return "Nothing speaks against the upgrade.\n".to_owned();
        }
        let reasons = self
            .refused
            .iter()
            .map(|reason| format!("refused: {reason}\n"));
        reasons.collect()
    }
}

/// Compares what the plane is with what it is to be. Its supervisors, whose admin port is at `supervisor` (host:port),
/// are asked for its nodes if Kubernetes is to be another version.
///
/// # Errors
/// When the hosting cluster or, where needed, no supervisor answers.
pub async fn check(hosted: &Hosted, wanted: &Facts, supervisor: &str) -> Result<Verdict, Error> {
    let current = hosted.reach().await?;
    let moves = current
        .get(KUBERNETES)
        .is_some_and(|from| wanted.get(KUBERNETES) != Some(from));
    let kubelets = if moves {
        kubelets(supervisor).await.map_err(|found| {
            let tried = format!("asking {supervisor} which kubelets its nodes have");
            hosted.failed(&tried, &found)
        })?
    } else {
        Vec::new()
    };
    Ok(Verdict {
        refused: refusals(&current, wanted, &kubelets),
    })
}

async fn kubelets(supervisor: &str) -> Result<Vec<String>, String> {
    match get(supervisor, "/metrics", LONGEST, DEADLINE).await {
        Ok(answer) if answer.status == 200 => Ok(versions(&answer.body)),
        Ok(answer) => Err(format!("it answered {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

/// The versions in `sextant_kubernetes_nodes{kubelet_version="v1.37.2"} 3`, those that nodes have.
fn versions(metrics: &str) -> Vec<String> {
    let version = |line: &str| {
        let rest = line.strip_prefix("sextant_kubernetes_nodes{kubelet_version=\"")?;
        let (version, count) = rest.split_once("\"} ")?;
        (count.trim() != "0").then(|| version.to_owned())
    };
    metrics.lines().filter_map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_from_metrics() {
        let metrics = "# TYPE sextant_kubernetes_nodes gauge\n\
                       sextant_kubernetes_nodes{kubelet_version=\"v1.37.2\"} 3\n\
                       sextant_kubernetes_nodes{kubelet_version=\"v1.36.0\"} 0\n\
                       sextant_joins_total{call=\"join\"} 1\n";
        assert_eq!(versions(metrics), ["v1.37.2"]);
    }

    #[tokio::test]
    async fn a_supervisor_that_is_not_there_is_said() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(kubelets(&address).await.unwrap_err().contains("refused"));
    }
}
