//! Which API server the next connection goes to.

use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What is known of the servers from the connections made so far.
#[derive(Debug, Default)]
pub struct Health {
    failing: BTreeMap<String, Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since_attempts: u32,
    avoided_until: Instant,
}

impl Health {
    /// The order in which to try `servers`: healthy ones at random, then those due for another try, then the
    /// rest by the time they are due. Every server is in it: the list never empties itself.
    pub fn order(&self, servers: &[String], now: Instant, rng: &mut impl rand::Rng) -> Vec<String> {
        let mut order: Vec<String> = servers.to_vec();
        order.shuffle(rng);
        order.sort_by_key(|server| match self.failing.get(server) {
            None => (0, now),
            Some(failing) if failing.avoided_until <= now => (1, now),
            Some(failing) => (2, failing.avoided_until),
        });
        order
    }

    /// A connection was made.
    pub fn succeeded(&mut self, server: &str) {
        self.failing.remove(server);
    }

    /// A connection could not be made; the server is avoided for a while.
    pub fn failed(&mut self, server: &str, now: Instant) {
        let attempts = self
            .failing
            .get(server)
            .map_or(0, |failing| failing.since_attempts)
            + 1;
        let pause = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(attempts - 1))
            .min(MAX_PAUSE);
        let failing = Failing {
            since_attempts: attempts,
            avoided_until: now + pause,
        };
        self.failing.insert(server.to_owned(), failing);
    }

    /// Forgets servers that are no longer listed.
    pub fn keep_only(&mut self, servers: &[String]) {
        self.failing.retain(|server, _| servers.contains(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn servers() -> Vec<String> {
        ["a:6443", "b:6443", "c:6443"].map(str::to_owned).to_vec()
    }

    #[test]
    fn spreads_over_healthy_servers() {
        let mut rng = StdRng::seed_from_u64(1);
        let health = Health::default();
        let mut first: Vec<_> = (0..100)
            .map(|_| health.order(&servers(), Instant::now(), &mut rng).remove(0))
            .collect();
        first.sort();
        first.dedup();
        assert_eq!(first, servers());
    }

    #[test]
    fn a_failing_server_comes_last_and_returns() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut health = Health::default();
        let now = Instant::now();
        health.failed("b:6443", now);
        for _ in 0..20 {
            assert_eq!(health.order(&servers(), now, &mut rng)[2], "b:6443");
        }
        health.succeeded("b:6443");
        let mut firsts = (0..100).map(|_| health.order(&servers(), now, &mut rng).remove(0));
        assert!(firsts.any(|first| first == "b:6443"));
    }

    #[test]
    fn never_empties_even_if_all_fail() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut health = Health::default();
        let now = Instant::now();
        for (server, failures) in [("a:6443", 9), ("b:6443", 1), ("c:6443", 4)] {
            for _ in 0..failures {
                health.failed(server, now);
            }
        }
        assert_eq!(
            health.order(&servers(), now, &mut rng),
            ["b:6443", "c:6443", "a:6443"]
        );
    }

    #[test]
    fn the_pause_is_bounded() {
        let mut health = Health::default();
        let now = Instant::now();
        for _ in 0..1000 {
            health.failed("a:6443", now);
        }
        assert_eq!(health.failing["a:6443"].avoided_until - now, MAX_PAUSE);
        health.keep_only(&["b:6443".to_owned()]);
        assert!(health.failing.is_empty());
    }
}
