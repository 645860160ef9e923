//! The fleet, computed anew when the registry or the API's nodes change.

use crate::domain::fleet::{Fleet, KubeNodes};
use crate::store::mirror::State;
use sextant_kit::Drain;
use std::sync::Arc;
use tokio::sync::watch;

/// Follows both; the value changes only when the fleet does.
pub(super) fn follow(
    mut state: watch::Receiver<Arc<State>>,
    mut kube: watch::Receiver<Arc<KubeNodes>>,
    drain: &Drain,
) -> watch::Receiver<Arc<Fleet>> {
    let (publish, fleet) = watch::channel(Arc::new(Fleet::default()));
    drain.spawn(async move {
        loop {
            let next = Fleet::new(&state.borrow_and_update(), &kube.borrow_and_update());
            publish.send_if_modified(|current| {
                let changed = **current != next;
                if changed {
                    *current = Arc::new(next);
                }
                changed
            });
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    return;
                },
                // Without anybody who follows the API's nodes, the registry alone counts.
                () = changed(&mut kube) => {}
            }
        }
    });
    fleet
}

async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}
