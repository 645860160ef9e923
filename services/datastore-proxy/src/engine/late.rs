//! The time between the start with a large store and the moment when all its keys are in memory. Reads are answered
//! from the store meanwhile; what writes, and what depends on all keys, waits.

use super::Shared;
use crate::domain::fault::Fault;
use crate::domain::query::{self, Selection};
use crate::domain::request::Query;
use crate::domain::state::State;
use crate::store::Keys;
use std::sync::Arc;
use tokio::sync::watch;

/// Where keys are read, until they are in memory.
pub(super) struct Late(watch::Sender<Option<Arc<dyn Keys>>>);

impl Late {
    pub(super) fn new(keys: Option<Arc<dyn Keys>>) -> Self {
        Self(watch::Sender::new(keys))
    }

    pub(super) fn keys(&self) -> Option<Arc<dyn Keys>> {
        self.0.borrow().clone()
    }

    /// All keys are in memory.
    pub(super) fn end(&self) {
        self.0.send_replace(None);
    }

    pub(super) async fn ended(&self) {
        // The sender is ours, so it can't be gone.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Shared {
    /// [`query::select`] on the keys in memory, or while they are missing on those in the store.
    pub(super) async fn select(
        self: &Arc<Self>,
        query: &Query,
        count: bool,
    ) -> Result<Selection, Fault> {
        let Some(keys) = self.late() else {
            return query::select(&self.state(), query, count);
        };
        let (revision, compacted) = {
            let state = self.state();
            (state.revision, state.compacted)
        };
        let range = query.range.clone();
        let loading = self.blocking(move |_| {
            let mut state = State {
                revision,
                compacted,
                ..State::default()
            };
            keys.load(&range, &mut state).map(|()| state)
        });
        let state = loading.await?;
        if self.late().is_none() {
            // A compaction may have begun, which takes versions away.
            return query::select(&self.state(), query, count);
        }
        query::select(&state, query, count)
    }
}
