//! Opening a SQLite store.

use crate::store::sqlite::Claim;
use crate::store::{Opened, StoreError};
use sextant_kit::Task;
use std::path::PathBuf;
use std::time::Duration;

/// How often a store that another process holds is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Waits for the store's lock, and says so while another process has it.
pub(super) async fn claim(path: PathBuf, ready: &Task) -> Result<Claim, StoreError> {
    loop {
        match Claim::new(&path) {
            Err(error @ StoreError::Locked(_)) => ready.waiting(error.to_string()),
            other => return other,
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Opens it, where blocking is allowed.
pub(super) async fn open(claim: Claim) -> Result<Opened, StoreError> {
    let opened = tokio::task::spawn_blocking(move || claim.open()).await;
    opened.unwrap_or_else(|error| {
        Err(StoreError::Failed {
            doing: "opening the store".into(),
            found: error.to_string(),
        })
    })
}
