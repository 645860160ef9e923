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
            let changed = tokio::select! {
                changed = state.changed() => changed,
                changed = kube.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    });
    fleet
}
