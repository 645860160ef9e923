//! Whether the controller is being turned off, or only stopped.
//!
//! A stopping controller leaves its table in force: the node keeps its policy through upgrades and crashes. When
//! its DaemonSet is gone, nobody would come back to remove the table, so it does that itself. It follows the
//! DaemonSet while it runs, since the rights to ask may be gone too by the time it is stopped.

use crate::config::Config;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the last question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Knows whether our DaemonSet is gone.
#[derive(Clone)]
pub struct Retirement {
    daemon_sets: Api<DaemonSet>,
    name: String,
    gone: Arc<AtomicBool>,
}

impl Retirement {
    /// For the DaemonSet that the configuration names.
    pub fn new(client: &Client, config: &Config) -> Self {
        Self {
            daemon_sets: Api::namespaced(client.clone(), &config.daemon_set_namespace),
            name: config.daemon_set.clone(),
            gone: Arc::default(),
        }
    }

    /// Follows the DaemonSet.
    pub async fn watch(self) {
        let only_ours = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = pin!(watcher(self.daemon_sets.clone(), only_ours).default_backoff());
        while let Some(event) = events.next().await {
            let gone = match event {
                Ok(watcher::Event::Delete(_)) => true,
                Ok(watcher::Event::Apply(set) | watcher::Event::InitApply(set)) => is_leaving(&set),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                Err(error) => {
                    tracing::debug!(%error, "own DaemonSet can't be followed");
                    continue;
                }
            };
            self.gone.store(gone, Ordering::Relaxed);
        }
    }

    /// Whether to take the table along. When in doubt, no: policy stays in force.
    pub async fn is_due(&self) -> bool {
        if self.gone.load(Ordering::Relaxed) {
            return true;
        }
        let question = self.daemon_sets.get_opt(&self.name);
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(Ok(set)) => set.is_none_or(|set| is_leaving(&set)),
            Ok(Err(error)) => {
                tracing::info!(%error, "own DaemonSet can't be read: the table stays");
                false
            }
            Err(_) => false,
        }
    }
}

fn is_leaving(set: &DaemonSet) -> bool {
    set.metadata.deletion_timestamp.is_some()
}
