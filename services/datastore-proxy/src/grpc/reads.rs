//! How much a caller may read at once: one that asks for more waits behind itself, not before the others.

use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads of one caller that are worked on at a time.
const AT_ONCE: usize = 64;
/// Reads of one caller that are worked on or wait.
const BOUND: usize = 5000;

/// The lanes of all callers; there are as many callers as the authorization table knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reads(Arc<Mutex<HashMap<String, Lane>>>);

#[derive(Clone)]
struct Lane {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Leave to read, until it is dropped.
pub(super) struct Turn {
    _working: OwnedSemaphorePermit,
    _waiting: OwnedSemaphorePermit,
}

impl Reads {
    /// Waits for a turn; refuses where too many wait.
    pub(super) async fn turn(&self, caller: &Caller) -> Result<Turn, Fault> {
        let lane = self.lane(caller.name());
        let waiting = lane.waiting.try_acquire_owned();
        let waiting = waiting.map_err(|_| Fault::TooManyRequests)?;
        // Nobody closes it.
        let working = lane.working.acquire_owned().await;
        Ok(Turn {
            _working: working.map_err(|_| Fault::Stopped)?,
            _waiting: waiting,
        })
    }

    fn lane(&self, caller: &str) -> Lane {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(caller) {
            return lane.clone();
        }
        let lane = Lane {
            working: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(BOUND)),
        };
        lanes.insert(caller.to_owned(), lane.clone());
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_noisy_caller_waits_for_itself() {
        let reads = Reads::default();
        let noisy = Caller::named("token-service");
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(reads.turn(&noisy).await.ok().unwrap());
        }
        let mut waiting = Box::pin(reads.turn(&noisy));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(reads.turn(&Caller::named("kube-apiserver")).await.is_ok());
        turns.pop();
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let reads = Reads::default();
        let noisy = Caller::named("token-service");
        let mut waiting = Vec::new();
        for _ in 0..BOUND {
            let mut turn = Box::pin(reads.turn(&noisy));
            // It has its place from the first poll on.
            let had = turn.as_mut().now_or_never();
            waiting.push((turn, had));
        }
        let refused = reads.turn(&noisy).await;
        assert!(matches!(refused, Err(Fault::TooManyRequests)));
        waiting.clear();
        assert!(reads.turn(&noisy).await.is_ok());
    }
}
