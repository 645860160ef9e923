//! Says on `/readyz` when the datastore is away. Signing goes on with the keys that are loaded, so the replica stays
//! ready; join tokens can't be made, verified or revoked meanwhile.

use std::time::Duration;

use sextant_kit::{Task, backoff::Backoff};
use tokio::time::sleep;

use crate::store::{Kv, PROBE};

/// Between two looks while it answers: one small read per replica.
const EVERY: Duration = Duration::from_secs(5);

/// Looks now and then, until dropped.
pub(crate) async fn watch<K: Kv>(kv: K, task: Task) {
    let mut backoff = Backoff::default();
    loop {
        match kv.get(PROBE).await {
            Ok(_) => {
                task.ready();
                backoff.reset();
                sleep(EVERY.mul_f64(rand::random_range(0.5..1.0))).await;
            }
            Err(error) => {
                task.degraded(format!("join tokens have to wait: {error}"));
                sleep(backoff.next()).await;
            }
        }
    }
}
