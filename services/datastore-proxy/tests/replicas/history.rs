//! Writes under way while something fails, and what must hold afterwards.

use crate::support::{Clients, prefix_end, put, revision};
use sextant_proto::etcd::etcdserverpb as pb;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Clients that write until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    /// Acknowledged writes: revision, and what was written.
    acknowledged: Arc<Mutex<Vec<(i64, String, String)>>>,
    count: Arc<AtomicUsize>,
    writers: JoinSet<()>,
}

impl Load {
    /// `per_replica` writers on each of `clients`. Each writes keys and values that nobody else writes.
    pub fn start(clients: &[Clients], per_replica: usize) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            acknowledged: Arc::default(),
            count: Arc::default(),
            writers: JoinSet::new(),
        };
        for (replica, clients) in clients.iter().enumerate() {
            for writer in 0..per_replica {
                let (stop, acknowledged) = (Arc::clone(&load.stop), Arc::clone(&load.acknowledged));
                let count = Arc::clone(&load.count);
                let mut clients = clients.clone();
                load.writers.spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let key = format!("/load/{replica}-{writer}/{}", number % 7);
                        let value = format!("{replica}-{writer}-{number}");
                        let written = clients.kv.put(put(&key, &value));
                        match tokio::time::timeout(PATIENCE, written).await {
                            Ok(Ok(answer)) => {
                                let revision = revision(answer.into_inner().header);
                                acknowledged.lock().unwrap().push((revision, key, value));
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            // Lost or refused: it may be there or not.
                            _ => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                });
            }
        }
        load
    }

    /// Waits for so many more acknowledged writes, and tells how long it took.
    pub async fn more(&self, writes: usize) -> Duration {
        let began = std::time::Instant::now();
        let wanted = self.count.load(Ordering::Relaxed) + writes;
        let deadline = Duration::from_secs(40);
        while self.count.load(Ordering::Relaxed) < wanted {
            assert!(
                began.elapsed() < deadline,
                "{} of {wanted} writes",
                self.count.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// Stops the writers and compares what they were told with what a watch from the beginning tells, at every
    /// replica of `survivors`.
    pub async fn check(mut self, survivors: &[Clients]) {
        self.stop.store(true, Ordering::Relaxed);
        while self.writers.join_next().await.is_some() {}
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        assert!(!acknowledged.is_empty());
        let newest = survivors[0].clone().put("/load/end", "end").await;
        let mut told = Vec::new();
        for clients in survivors {
            told.push(everything(clients.clone(), newest).await);
        }
        for events in &told {
            assert_eq!(events, &told[0], "replicas tell different stories");
        }
        assert!(
            told[0].keys().copied().eq(2..=newest),
            "revisions are missing"
        );
        for (revision, key, value) in acknowledged {
            let found = told[0].get(&revision);
            assert_eq!(
                found,
                Some(&(key, value)),
                "revision {revision} was acknowledged"
            );
        }
        let mut values: Vec<_> = told[0].values().map(|(_, value)| value).collect();
        let all = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), all, "a write was done twice");
    }
}

/// What each revision up to `newest` wrote, as a watch from the beginning tells it.
async fn everything(mut clients: Clients, newest: i64) -> BTreeMap<i64, (String, String)> {
    let create = pb::WatchCreateRequest {
        key: "/load/".into(),
        range_end: prefix_end("/load/").into(),
        start_revision: 1,
        ..pb::WatchCreateRequest::default()
    };
    let mut answers = crate::watch(&mut clients, create).await;
    let mut events = BTreeMap::new();
    while events.keys().last().is_none_or(|last| *last < newest) {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
        let answer = answer.expect("an answer").unwrap().unwrap();
        for event in answer.events {
            let kv = event.kv.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let written = (text(&kv.key), text(&kv.value));
            let again = events.insert(kv.mod_revision, written);
            assert_eq!(again, None, "revision {} came twice", kv.mod_revision);
        }
    }
    events
}
