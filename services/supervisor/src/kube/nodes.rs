//! Nodes of the Kubernetes API: their pod networks and whether they are ready.

use crate::domain::fleet::{Fleet, KubeNode, KubeNodes};
use crate::store::Datastore;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use sextant_kit::backoff::Backoff;
use std::sync::Arc;
use tokio::sync::watch;

/// Follows all nodes; what was last seen stays while the API is away. Never ends.
pub async fn watch(client: Client, nodes: watch::Sender<Arc<KubeNodes>>) {
    let mut events = std::pin::pin!(
        watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff()
    );
    let mut listed = KubeNodes::new();
    let mut current = KubeNodes::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(node))) => {
                listed.insert(node.name_any(), view(&node));
                continue;
            }
            Ok(Some(Event::InitDone)) => current = std::mem::take(&mut listed),
            Ok(Some(Event::Apply(node))) => {
                current.insert(node.name_any(), view(&node));
            }
            Ok(Some(Event::Delete(node))) => {
                current.remove(&node.name_any());
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "watching nodes");
                continue;
            }
        }
        nodes.send_if_modified(|known| {
            let changed = **known != current;
            if changed {
                *known = Arc::new(current.clone());
            }
            changed
        });
    }
}

fn view(node: &Node) -> KubeNode {
    let spec = node.spec.as_ref();
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let info = status.and_then(|status| status.node_info.as_ref());
    KubeNode {
        pod_cidr: spec
            .and_then(|spec| spec.pod_cidr.clone())
            .unwrap_or_default(),
        ready: conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        kubelet_version: info
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
    }
}

/// Writes pod networks to the registry, for supervisors that start while the API is away. Never ends; the leader
/// drops it.
pub async fn register_pod_networks(mut fleet: watch::Receiver<Arc<Fleet>>, store: Datastore) {
    let mut backoff = Backoff::default();
    loop {
        let wanted = fleet.borrow_and_update().clone();
        let mut failed = false;
        for (name, node) in wanted
            .nodes
            .iter()
            .filter(|(_, node)| !node.pod_cidr.is_empty())
        {
            let outcome = store.update_node(name, |record| {
                let changed = record.pod_cidr != node.pod_cidr;
                record.pod_cidr.clone_from(&node.pod_cidr);
                changed
            });
            if let Err(error) = outcome.await {
                tracing::warn!(node = name, %error, "pod network not registered yet");
                failed = true;
            }
        }
        if failed {
            tokio::time::sleep(backoff.next()).await;
            continue;
        }
        backoff.reset();
        if fleet.changed().await.is_err() {
            return;
        }
    }
}
