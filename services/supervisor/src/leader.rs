//! One supervisor at a time does what must be done once: it stands at the head of a queue in the datastore.

use crate::domain::queue::Place;
use crate::metrics::ReplicaMetrics;
use crate::store::tickets::{Queues, Standing};
use futures::future::BoxFuture;
use sextant_kit::Drain;
use sextant_kit::backoff::Backoff;
use std::time::Duration;
use tokio::sync::watch;

const QUEUE: &str = "leader";

/// Runs `work` whenever this replica leads; drops it at its next await when it no longer does.
pub async fn run<F>(
    queues: Queues,
    mut lease: watch::Receiver<Option<i64>>,
    replica: String,
    drain: Drain,
    metrics: ReplicaMetrics,
    work: F,
) where
    F: Fn() -> BoxFuture<'static, ()>,
{
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    while !drain.is_draining() {
        if drain
            .run(lease.wait_for(Option::is_some))
            .await
            .is_none_or(|held| held.is_err())
        {
            return;
        }
        let under = *lease.borrow_and_update();
        match queues.enter(QUEUE, &replica).await {
            Ok(standing) => {
                backoff.reset();
                let lost = lease.wait_for(|now| *now != under);
                tokio::select! {
                    () = drain.signaled() => return,
                    _ = lost => tracing::warn!("leadership given up: the lease is lost"),
                    () = serve(standing, &metrics, &work) => {}
                }
            }
            Err(error) => tracing::info!(%error, "not standing for leadership"),
        }
        let _ = drain.run(tokio::time::sleep(backoff.next())).await;
    }
}

/// Ends when the place in the queue is gone.
async fn serve<F>(mut standing: Standing, metrics: &ReplicaMetrics, work: &F)
where
    F: Fn() -> BoxFuture<'static, ()>,
{
    let mut place = None;
    loop {
        let now = standing.next(place.as_ref()).await;
        match &now {
            Place::Gone => return,
            Place::Waiting(leader) => tracing::info!(leader, "another supervisor leads"),
            Place::Head => {
                tracing::info!("this supervisor leads");
                let _leading = metrics.leading();
                tokio::select! {
                    () = work() => return,
                    _ = standing.next(Some(&Place::Head)) => return,
                }
            }
        }
        place = Some(now);
    }
}
