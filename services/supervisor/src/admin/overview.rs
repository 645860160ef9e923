//! What each replica does and costs: asked on demand, compared with what it said before.

use super::status::{AT_ONCE, Replica, replicas};
use crate::clock;
use crate::config::Part;
use crate::domain::measures::{History, Look, Measures, call_rates, datastore};
use futures::StreamExt;
use futures::stream;
use sextant_kit::http::get;
use sextant_proto::supervisor::{PartStatus, ReplicaOverview};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A look that is younger serves everybody who asks.
const FRESH: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);
/// A part's `/metrics`: some tens of kilobytes.
const LONGEST_METRICS: u64 = 1 << 20;
const MOST_REPLICAS: usize = 500;
/// Reasons of one replica, and the characters of each.
const MOST_REASONS: usize = 8;
const LONGEST_REASON: usize = 300;

/// Looks at all parts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Overviews {
    parts: Arc<[Part]>,
    history: Arc<Mutex<History>>,
}

/// What is known of all replicas at one time.
#[derive(Debug, Default)]
pub(super) struct Overview {
    pub seen_unix_ms: i64,
    pub replicas: Vec<ReplicaOverview>,
    pub left_out: usize,
}

impl Overviews {
    /// Of these parts; none is asked yet.
    pub fn new(parts: &[Part]) -> Self {
        Self {
            parts: parts.into(),
            history: Arc::default(),
        }
    }

    /// The newest look, made now unless somebody has just looked. Those who come meanwhile wait for it.
    pub(super) async fn look(&self) -> Overview {
        let mut history = self.history.lock().await;
        let stale = |look: &Look| look.at.elapsed() >= FRESH;
        if history.newest().is_none_or(stale) {
            let look = self.ask().await;
            history.push(look);
        }
        overview(&history)
    }

    async fn ask(&self) -> Look {
        let (at, unix_ms) = (Instant::now(), clock::now_ms());
        let mut found = replicas(&self.parts).await;
        let left_out = found.len().saturating_sub(MOST_REPLICAS);
        found.truncate(MOST_REPLICAS);
        let replicas = stream::iter(found).map(|replica| async move {
            let (status, measures) = futures::join!(replica.status(), measures(&replica));
            (bounded(status), measures)
        });
        let replicas = replicas.buffered(AT_ONCE).collect().await;
        Look {
            at,
            unix_ms,
            replicas,
            left_out,
        }
    }
}

async fn measures(replica: &Replica) -> Result<Measures, String> {
    let address = replica.address()?;
    let answer = get(address, "/metrics", LONGEST_METRICS, DEADLINE).await;
    let answer = answer.map_err(|error| format!("asking {address}: {error}"))?;
    match answer.status {
        200 => Ok(Measures::read(&answer.body)),
        other => Err(format!("{address}/metrics answered {other}")),
    }
}

fn bounded(mut status: PartStatus) -> PartStatus {
    status.reasons.truncate(MOST_REASONS);
    for reason in &mut status.reasons {
        if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
            reason.truncate(end);
            reason.push('…');
        }
    }
    status
}

fn overview(history: &History) -> Overview {
    let Some(look) = history.newest() else {
        return Overview::default();
    };
    let replicas = look.replicas.iter().map(|(status, measures)| {
        let before = history
            .before(status)
            .map(|(at, measures)| (measures, look.at.saturating_duration_since(at)));
        replica(status.clone(), measures, before)
    });
    Overview {
        seen_unix_ms: look.unix_ms,
        replicas: replicas.collect(),
        left_out: look.left_out,
    }
}

fn replica(
    status: PartStatus,
    measures: &Result<Measures, String>,
    before: Option<(&Measures, Duration)>,
) -> ReplicaOverview {
    let now = match measures {
        Ok(now) => now,
        Err(why) => {
            return ReplicaOverview {
                status: Some(status),
                measures_missing: why.clone(),
                ..ReplicaOverview::default()
            };
        }
    };
    ReplicaOverview {
        status: Some(status),
        version: now.version.clone(),
        started_unix: now.started_unix,
        resident_bytes: now.resident_bytes,
        component_resident_bytes: now.component_resident_bytes,
        certificate_not_after_unix: now.certificate_not_after_unix.unwrap_or(0),
        calls: before.and_then(|(before, apart)| call_rates(now, before, apart)),
        datastore: datastore(now, before),
        measures_missing: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_bounded() {
        let status = bounded(PartStatus {
            reasons: vec!["é".repeat(1000); 100],
            ..PartStatus::default()
        });
        assert_eq!(status.reasons.len(), MOST_REASONS);
        assert_eq!(status.reasons[0].chars().count(), LONGEST_REASON + 1);
    }

    #[tokio::test]
    async fn a_part_that_is_not_there_says_why() {
        let nobody = Part {
            name: "token-service".into(),
            admin: "127.0.0.1:1".into(),
            rpc: String::new(),
        };
        let overviews = Overviews::new(&[nobody]);
        let overview = overviews.look().await;
        let [replica] = overview.replicas.as_slice() else {
            panic!("{overview:?}");
        };
        let status = replica.status.as_ref().unwrap();
        assert!(!status.ready && status.reasons[0].contains("refused"));
        assert!(replica.measures_missing.contains("refused"), "{replica:?}");
        assert_eq!((&replica.calls, &replica.datastore), (&None, &None));
    }
}
