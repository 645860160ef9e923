//! Starts the children in their order and follows the configuration: only what changed is restarted.

use super::files::Files;
use super::{Images, probe};
use crate::config::{Checked, Config};
use crate::error::Error;
use crate::store::State;
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Readiness, Task};
use sextant_proto::supervisor::{NodeConfig, NodeSettings};
use sextant_runner::child::{Child, Spec, Status};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{Instrument, Span, info_span};

/// Between looks at a child that serves.
const LOOK: Duration = Duration::from_secs(5);
/// Between looks at one that doesn't yet.
const SOON: Duration = Duration::from_millis(200);

/// The children's states, for whoever asks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<Vec<Named>>>);

type Named = (String, watch::Receiver<Status>);

/// What runs the node's containers.
pub struct Runtime {
    /// The span of the node's start; what comes up is part of it.
    pub start: Span,
    /// Whether containerd and kubelet are offered a receiver for what they tell.
    pub traced: bool,
    /// The agent's configuration.
    pub config: Arc<Config>,
    /// Its parsed values.
    pub checked: Checked,
    /// The state folder.
    pub state: State,
    /// Imports.
    pub images: Arc<Images>,
    /// Where the children's states are shown.
    pub children: Children,
    /// The configuration, once the node has joined.
    pub joined: watch::Receiver<Option<Arc<NodeConfig>>>,
    /// The node's addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
}

/// One child and what it was started with.
struct Slot {
    spec: Spec,
    child: Child,
}

impl Children {
    /// Names and states.
    pub fn statuses(&self) -> Vec<(String, Status)> {
        let children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        children
            .iter()
            .map(|(name, status)| (name.clone(), status.borrow().clone()))
            .collect()
    }

    fn add(&self, name: &str, status: watch::Receiver<Status>) {
        let mut children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        children.push((name.to_owned(), status));
    }
}

impl Runtime {
    /// Runs until drained. The children outlive the agent.
    pub async fn run(mut self, readiness: Readiness, drain: Drain) {
        let task = readiness.task("containerd");
        let images = readiness.task("images");
        let kubelet = readiness.task("kubelet");
        let kube_proxy = readiness.task("kube-proxy");
        for task in [&kubelet, &kube_proxy] {
            task.waiting("the node hasn't joined yet");
        }
        let run = async {
            let mut slots = Slots::default();
            let span = info_span!(parent: &self.start, "containerd_up");
            self.start_containerd(&mut slots, &task)
                .instrument(span)
                .await;
            let span = info_span!(parent: &self.start, "images_imported");
            self.import(&images).instrument(span).await;
            let late = import_late(Arc::clone(&self.images));
            let follow = self.follow(&mut slots, &task, &kubelet, &kube_proxy);
            tokio::join!(late, follow);
        };
        let _ = drain.run(run).await;
    }

    async fn start_containerd(&self, slots: &mut Slots, task: &Task) {
        loop {
            match self.apply_containerd(slots).await {
                Ok(()) => break,
                Err(error) => task.waiting(error.to_string()),
            }
            tokio::time::sleep(LOOK).await;
        }
        while let Err(reason) = probe::socket(&self.config.containerd_socket()).await {
            task.waiting(slots.reason("containerd", reason));
            tokio::time::sleep(SOON).await;
        }
        task.ready();
    }

    /// A broken archive must not keep the node away; the pods that need it will say so.
    async fn import(&self, task: &Task) {
        for pause in [1, 5, 20] {
            match self.images.import_all(task).await {
                Ok(()) => return task.ready(),
                Err(error) => {
                    tracing::warn!(%error, "importing images");
                    task.waiting(error.to_string());
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
            }
        }
        tracing::error!("not all images could be imported: pods that need them won't start");
        task.ready();
    }

    async fn follow(&mut self, slots: &mut Slots, task: &Task, kubelet: &Task, proxy: &Task) {
        let start = std::mem::replace(&mut self.start, Span::none());
        let mut coming_up = Some(info_span!(parent: &start, "kubelet_and_kube_proxy_up"));
        drop(start);
        loop {
            let config = self.joined.borrow_and_update().clone();
            let address = self.addresses.borrow_and_update().first().copied();
            let settings = config.as_ref().and_then(|config| config.settings.as_ref());
            let mut pause = LOOK;
            if let (Some(settings), Some(address)) = (settings, address) {
                match self.apply(slots, settings, address).await {
                    Ok(()) => {
                        pause = check(slots, task, kubelet, proxy, &self.config).await;
                        if pause == LOOK {
                            drop(coming_up.take());
                        }
                    }
                    Err(error) => kubelet.waiting(error.to_string()),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.joined.changed() => {}
                _ = self.addresses.changed() => {}
            }
        }
    }

    async fn apply_containerd(&self, slots: &mut Slots) -> Result<(), Error> {
        let config = self.joined.borrow().clone();
        let settings = config.as_ref().and_then(|config| config.settings.as_ref());
        let spec = self.files().containerd(settings)?;
        slots.apply(spec, &self.children).await;
        Ok(())
    }

    async fn apply(
        &self,
        slots: &mut Slots,
        settings: &NodeSettings,
        address: IpAddr,
    ) -> Result<(), Error> {
        self.apply_containerd(slots).await?;
        let (kubelet, kube_proxy) = self.files().kubernetes(settings, address)?;
        slots.apply(kubelet, &self.children).await;
        slots.apply(kube_proxy, &self.children).await;
        Ok(())
    }

    fn files(&self) -> Files<'_> {
        Files {
            config: &self.config,
            checked: &self.checked,
            state: &self.state,
            traced: self.traced,
        }
    }
}

/// What add-ons need comes after what every pod needs. Their pods are tried again until it is there.
async fn import_late(images: Arc<Images>) {
    while probe::http(10248, "/healthz").await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
    let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(300));
    while let Err(error) = images.import_late().await {
        tracing::warn!(%error, "importing images of add-ons");
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Asks the children whether they serve; returns when to ask again.
async fn check(
    slots: &Slots,
    containerd: &Task,
    kubelet: &Task,
    kube_proxy: &Task,
    config: &Config,
) -> Duration {
    let socket = config.containerd_socket();
    let (a, b, c) = tokio::join!(
        probe::socket(&socket),
        probe::http(10248, "/healthz"),
        probe::http(10256, "/livez"),
    );
    let mut pause = LOOK;
    for (name, task, result) in [
        ("containerd", containerd, a),
        ("kubelet", kubelet, b),
        ("kube-proxy", kube_proxy, c),
    ] {
        match result {
            Ok(()) => task.ready(),
            Err(reason) => {
                task.waiting(slots.reason(name, reason));
                pause = SOON;
            }
        }
    }
    pause
}

/// The children that run.
#[derive(Default)]
struct Slots(Vec<Slot>);

impl Slots {
    /// Starts (or adopts) the child, or replaces it if it runs with something else.
    async fn apply(&mut self, spec: Spec, children: &Children) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.spec.name == spec.name) {
            if slot.spec != spec {
                tracing::info!(
                    child = spec.name,
                    "its configuration changed: restarting it"
                );
                slot.child.replace(spec.clone()).await;
                slot.spec = spec;
            }
            return;
        }
        let child = Child::supervise(spec.clone());
        children.add(&spec.name, child.status());
        self.0.push(Slot { spec, child });
    }

    /// Why a child doesn't serve: its own state if it doesn't run, otherwise what the probe found.
    fn reason(&self, name: &str, probed: String) -> String {
        let slot = self.0.iter().find(|slot| slot.spec.name == name);
        let status = slot.map(|slot| slot.child.status().borrow().clone());
        match status {
            Some(status) if status.pid().is_none() => status.to_string(),
            _ => probed,
        }
    }
}
