//! Whether the first minutes of the cluster are over. Once they are, they are for good.

use super::state::State;
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The marker that closes the bootstrap profile.
pub struct Bootstrap {
    state: Arc<dyn State>,
    /// What was seen of it. Only the end of the bootstrap is remembered: another replica may have seen it, too.
    complete: AtomicBool,
}

impl Bootstrap {
    /// As `state` knows it.
    pub fn new(state: Arc<dyn State>) -> Self {
        Self {
            state,
            complete: AtomicBool::new(false),
        }
    }

    /// Whether `system:masters` may still be asked for.
    pub async fn is_open(&self) -> Result<bool, Error> {
        if self.complete.load(Ordering::Acquire) {
            return Ok(false);
        }
        let completed = self.state.bootstrap_completed().await?;
        if completed {
            self.complete.store(true, Ordering::Release);
        }
        Ok(!completed)
    }

    /// Closes it, durably. Closing twice changes nothing.
    pub async fn complete(&self, now: i64) -> Result<(), Error> {
        if self.is_open().await? {
            self.state.complete_bootstrap(now).await?;
            self.complete.store(true, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::FolderState;

    #[tokio::test]
    async fn stays_closed_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Bootstrap::new(Arc::new(FolderState::new(folder.path())));
        let bootstrap = open();
        assert!(bootstrap.is_open().await.unwrap());
        bootstrap.complete(1).await.unwrap();
        bootstrap.complete(2).await.unwrap();
        assert!(!bootstrap.is_open().await.unwrap());
        assert!(!open().is_open().await.unwrap());
    }
}
