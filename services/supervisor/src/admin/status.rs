//! The parts of the cluster, each asked on its admin port what it waits for.

use crate::config::Part;
use futures::StreamExt;
use futures::stream;
use serde::Deserialize;
use sextant_kit::http::{Answer, get};
use sextant_proto::supervisor::PartStatus;
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(3);
const LONGEST: u64 = 64 * 1024;
pub(super) const AT_ONCE: usize = 64;

#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(default)]
    waiting: Vec<Waiting>,
    #[serde(default)]
    degraded: Vec<Waiting>,
}

#[derive(Deserialize)]
struct Waiting {
    name: String,
    reason: String,
}

/// A replica to ask, or a part that has none.
pub(crate) struct Replica {
    part: String,
    admin: String,
    /// Where it answers, or why there is nobody.
    found: Result<SocketAddr, String>,
}

/// Asks every replica of every part, all at the same time.
pub(super) async fn ask_all(parts: &[Part]) -> Vec<PartStatus> {
    let asked = stream::iter(replicas(parts).await)
        .map(|replica| async move { replica.status().await })
        .buffered(AT_ONCE);
    asked.collect().await
}

/// The replicas that the names of the parts stand for now.
pub(crate) async fn replicas(parts: &[Part]) -> Vec<Replica> {
    let found = stream::iter(parts.to_vec()).map(|part| async move {
        let replica = |found| Replica {
            part: part.name.clone(),
            admin: part.admin.clone(),
            found,
        };
        match resolve(&part).await {
            Ok(addresses) => addresses.into_iter().map(Ok).map(replica).collect(),
            Err(reason) => vec![replica(Err(reason))],
        }
    });
    found.buffered(AT_ONCE).concat().await
}

async fn resolve(part: &Part) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(DEADLINE, tokio::net::lookup_host(&part.admin)).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            return Err(format!("resolving {}: {error}; is it running?", part.admin));
        }
        Err(_) => return Err(format!("resolving {}: no answer", part.admin)),
    };
    if addresses.is_empty() {
        return Err(format!("{} has no address; is it running?", part.admin));
    }
    Ok(addresses)
}

impl Replica {
    /// Where it answers, or why there is nobody.
    pub fn address(&self) -> Result<SocketAddr, String> {
        self.found.clone()
    }

    /// Whether it is ready, and what it lacks.
    pub async fn status(&self) -> PartStatus {
        let (ready, reasons) = match self.readiness().await {
            Ok(readiness) => {
                let reasons = readiness.waiting.into_iter().chain(readiness.degraded);
                let told = reasons.map(|w| format!("{}: {}", w.name, w.reason));
                (readiness.ready, told.collect())
            }
            Err(reason) => (false, vec![reason]),
        };
        PartStatus {
            name: self.part.clone(),
            address: match &self.found {
                Ok(address) => address.to_string(),
                Err(_) => self.admin.clone(),
            },
            ready,
            reasons,
        }
    }

    async fn readiness(&self) -> Result<Readiness, String> {
        let address = self.address()?;
        get(address, "/readyz?format=json", LONGEST, DEADLINE)
            .await
            .and_then(|answer| parse(&answer))
            .map_err(|error| format!("asking {address}: {error}"))
    }
}

fn parse(answer: &Answer) -> std::io::Result<Readiness> {
    serde_json::from_str(&answer.body).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_admin_port() {
        let said = |body: &str| {
            parse(&Answer {
                status: 200,
                body: body.to_owned(),
            })
        };
        let readiness =
            said(r#"{"ready":false,"waiting":[{"name":"datastore","reason":"refused"}]}"#).unwrap();
        assert!(!readiness.ready);
        assert_eq!(readiness.waiting[0].name, "datastore");
        let readiness = said(
            r#"{"ready":true,"waiting":[],"degraded":[{"name":"datastore","reason":"refused"}]}"#,
        )
        .unwrap();
        assert!(readiness.ready && readiness.waiting.is_empty());
        assert_eq!(readiness.degraded[0].reason, "refused");
        assert!(said("no").is_err());
    }
}
