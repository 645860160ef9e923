//! Waiting for a condition instead of for time.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(20);

/// Polls `condition` until it answers `Ok`, and returns its value; after `deadline` panics with the last `Err`.
#[track_caller]
pub fn eventually<T, E, F, Fut>(
    deadline: Duration,
    what: &str,
    mut condition: F,
) -> impl Future<Output = T>
where
    E: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let end = tokio::time::Instant::now() + deadline;
        let mut last = None;
        loop {
            match tokio::time::timeout_at(end, condition()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(state)) => last = Some(state),
                Err(_) => {}
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{caller}: not within {deadline:?}: {what}; last state: {last:?}"
            );
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
