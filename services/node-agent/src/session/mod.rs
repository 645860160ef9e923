//! The node's sessions with the supervisors.

mod stream;
mod telemetry;
mod tunnel;

use crate::domain::overlay::Mac;
use crate::domain::target::Reach;
use crate::store::{Last, State};
use ipnet::IpNet;
use sextant_identity::{Mesh, TrustBundle};
use sextant_kit::{Drain, Readiness, Task};
use sextant_proto::supervisor::{NodeConfig, Trust};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

/// Open tunnel connections of one node.
const MAX_TUNNELS: usize = 2048;

/// What all sessions of a node share. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    /// The node's place in the mesh.
    pub mesh: Mesh,
    /// The node's name.
    pub name: String,
    /// Supervisors from the agent's configuration.
    pub supervisors: Vec<String>,
    /// The last configuration, which sessions replace.
    pub last: Last,
    /// The state folder.
    pub state: State,
    /// The anchors, which sessions replace.
    pub trust: watch::Sender<Arc<TrustBundle>>,
    /// The node's addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// Hardware address of the VXLAN device.
    pub vtep_mac: Mac,
    /// What the node waits for.
    pub readiness: Readiness,
    /// Supervisors with an open session.
    pub open: watch::Sender<BTreeSet<String>>,
    /// Bounds the tunnels.
    pub tunnels: Arc<Semaphore>,
    /// netpol-controller's socket.
    pub policy_socket: PathBuf,
    /// Told when a supervisor refuses the node: it was removed from the cluster.
    pub removed: Arc<Notify>,
}

impl Sessions {
    /// A bound for [`Self::tunnels`].
    pub fn tunnel_limit() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_TUNNELS))
    }

    /// Keeps one session to every supervisor until drained.
    pub async fn run(self, task: Task, drain: Drain) {
        let _ = drain.run(self.keep(&task, &drain)).await;
    }

    async fn keep(&self, task: &Task, drain: &Drain) {
        let mut config = self.last.follow();
        let mut open = self.open.subscribe();
        let mut running: BTreeMap<String, AbortOnDropHandle<()>> = BTreeMap::new();
        loop {
            let wanted = self.wanted(&config.borrow_and_update());
            running.retain(|address, _| wanted.contains(address));
            for address in &wanted {
                running.entry(address.clone()).or_insert_with(|| {
                    let session = self.clone().follow(address.clone(), drain.clone());
                    AbortOnDropHandle::new(tokio::spawn(session))
                });
            }
            if open.borrow_and_update().is_empty() {
                let all = Vec::from_iter(wanted).join(", ");
                task.waiting(format!("no supervisor answers ({all}); pods run on"));
            } else {
                task.ready();
            }
            tokio::select! {
                _ = config.changed() => {}
                _ = open.changed() => {}
            }
        }
    }

    fn wanted(&self, config: &NodeConfig) -> BTreeSet<String> {
        let known = config
            .settings
            .as_ref()
            .map_or(&[][..], |settings| &settings.supervisors);
        let all = if known.is_empty() {
            &self.supervisors
        } else {
            known
        };
        all.iter().cloned().collect()
    }

    /// What the tunnel may dial now.
    fn reach(&self) -> Reach {
        let config = self.last.follow().borrow().clone();
        let service = config
            .settings
            .as_ref()
            .and_then(|s| s.service_cidr.parse::<IpNet>().ok());
        Reach {
            node_name: self.name.clone(),
            addresses: self.addresses.borrow().clone(),
            pod_cidr: config.pod_cidr.parse().ok(),
            service_cidr: service,
        }
    }

    /// Takes over anchors that are newer than ours.
    fn set_trust(&self, trust: &Trust) {
        if trust.generation <= self.trust.borrow().generation {
            return;
        }
        match self.state.install_trust(trust) {
            Ok(bundle) => {
                tracing::info!(generation = bundle.generation, "new anchors");
                self.trust.send_replace(Arc::new(bundle));
            }
            Err(error) => tracing::warn!(%error, "anchors not taken over"),
        }
    }

    /// Reasons why the node isn't ready, without the session's own.
    fn waiting_for(&self) -> Vec<String> {
        let waiting = self.readiness.waiting().into_iter();
        waiting
            .filter(|waiting| waiting.name != crate::app::SESSION)
            .map(|waiting| format!("{}: {}", waiting.name, waiting.reason))
            .collect()
    }
}
