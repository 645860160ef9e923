//! Counts the tokens, and forgets those that nobody asks for any more.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    clock::Clock,
    error::Error,
    metrics::TokenMetrics,
    store::{Kv, Tokens},
};

/// An expired token is shown for this long, in seconds, so that it can be seen why a join failed.
const KEPT: i64 = 24 * 3600;
/// Between two rounds; each replica does them.
const EVERY: Duration = Duration::from_secs(60);

/// Counts and cleans now and then, until dropped.
pub(crate) async fn run<K: Kv>(tokens: Tokens<K>, clock: Clock, metrics: TokenMetrics) {
    loop {
        match clean(&tokens, clock.unix(), &metrics).await {
            Ok(count) => {
                metrics.cleaned.inc_by(count);
            }
            Err(error) => tracing::warn!(%error, "join tokens aren't counted, and stay for now"),
        }
        sleep(EVERY.mul_f64(rand::random_range(0.75..1.25))).await;
    }
}

/// Forgets tokens that expired long ago; returns how many.
async fn clean<K: Kv>(tokens: &Tokens<K>, now: i64, metrics: &TokenMetrics) -> Result<u64, Error> {
    let mut count = 0;
    let all = tokens.list().await?;
    metrics.count(&all, now);
    for stored in all {
        if stored.record.expires.saturating_add(KEPT) < now && tokens.delete(&stored).await? {
            tracing::info!(id = stored.id, "forgot an expired join token");
            count += 1;
        }
    }
    Ok(count)
}
