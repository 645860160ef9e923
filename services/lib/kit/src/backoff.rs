//! Waiting between attempts: exponential with full jitter, so that a thousand clients don't return at once.

use crate::drain::Drain;
use crate::readiness::Task;
use rand::RngExt;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

/// Grows from `base` to `max` by doubling; each pause is drawn evenly from its upper half.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// A back-off that begins at `base` and never exceeds `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            attempt: 0,
        }
    }

    /// The next pause.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so it is no iterator"
    )]
    pub fn next(&mut self) -> Duration {
        self.next_with(&mut rand::rng())
    }

    /// The next pause, with randomness from the caller.
    pub fn next_with(&mut self, rng: &mut impl rand::Rng) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(2_u32.saturating_pow(self.attempt))
            .min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Back to the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

impl Default for Backoff {
    /// 100 ms to 5 s: what parts of one control plane use to wait for each other.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

/// Repeats `attempt` until it succeeds, telling each error to `task`. `None` once the drain starts.
///
/// Each attempt needs its own deadline; this function sets none. The task is left waiting: the caller says when
/// it is ready.
pub async fn retry<T, E, F, Fut>(
    what: &str,
    task: &Task,
    mut backoff: Backoff,
    drain: &Drain,
    mut attempt: F,
) -> Option<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    loop {
        match drain.run(attempt()).await? {
            Ok(value) => return Some(value),
            Err(error) => {
                task.waiting(format!("{what}: {error}"));
                drain.run(tokio::time::sleep(backoff.next())).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Readiness;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn grows_within_its_bounds_and_starts_over() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for ceiling in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next_with(&mut rng).as_millis();
            assert!(
                (ceiling / 2..=ceiling).contains(&pause),
                "{pause} for {ceiling}"
            );
        }
        backoff.reset();
        assert!(backoff.next_with(&mut rng) <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn tells_the_last_error_and_ends_when_drained() {
        let readiness = Readiness::default();
        let task = readiness.task("datastore");
        let (drain, trigger) = Drain::new();
        let mut left = 3;
        let value = retry("dialling", &task, Backoff::default(), &drain, || {
            left -= 1;
            let answer = if left == 0 { Ok(7) } else { Err("refused") };
            async move { answer }
        })
        .await;
        assert_eq!(value, Some(7));
        assert_eq!(readiness.waiting()[0].reason, "dialling: refused");
        trigger.start();
        let value: Option<()> = retry("dialling", &task, Backoff::default(), &drain, || async {
            Err("refused")
        })
        .await;
        assert_eq!(value, None);
    }
}
