//! Standing in a queue of the datastore.

use super::mirror::State;
use super::{Datastore, keys};
use crate::domain::queue::{Place, place};
use crate::error::Error;
use std::sync::Arc;
use tokio::sync::watch;

/// What is needed to stand in queues. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queues {
    store: Datastore,
    state: watch::Receiver<Arc<State>>,
    lease: watch::Receiver<Option<i64>>,
}

/// A place in a queue; given up when dropped.
#[derive(Debug)]
pub struct Standing {
    store: Datastore,
    state: watch::Receiver<Arc<State>>,
    queue: String,
    key: String,
    seen: bool,
}

impl Queues {
    /// Over the datastore, its mirror and this replica's lease.
    pub fn new(
        store: Datastore,
        state: watch::Receiver<Arc<State>>,
        lease: watch::Receiver<Option<i64>>,
    ) -> Self {
        Self {
            store,
            state,
            lease,
        }
    }

    /// Gets in line under this replica's lease.
    ///
    /// # Errors
    /// [`Error::NoLease`], or the datastore's own.
    pub async fn enter(&self, queue: &str, holder: &str) -> Result<Standing, Error> {
        let lease = *self.lease.borrow();
        let lease = lease.ok_or(Error::NoLease("stand in a queue"))?;
        let key = keys::ticket(queue, &format!("{:016x}", rand::random::<u64>()));
        self.store
            .put(&key, holder.as_bytes().to_vec(), Some(lease))
            .await?;
        Ok(Standing {
            store: self.store.clone(),
            state: self.state.clone(),
            queue: queue.to_owned(),
            key,
            seen: false,
        })
    }
}

impl Standing {
    /// The place now, and again after each change of the queue: call in a loop. `Gone` is final.
    pub async fn next(&mut self, last: Option<&Place>) -> Place {
        loop {
            let now = {
                let state = self.state.borrow_and_update();
                place(state.tickets(&self.queue), &self.key)
            };
            // The mirror may not have come to our own key yet.
            let settled = now != Place::Gone || self.seen;
            self.seen |= now != Place::Gone;
            if settled && last != Some(&now) {
                return now;
            }
            if self.state.changed().await.is_err() {
                return Place::Gone;
            }
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
        // Without a runtime the process is ending, and the lease with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.delete(&key).await {
                    tracing::warn!(key, %error, "place in the queue not given up; it ends with the lease");
                }
            });
        }
    }
}
