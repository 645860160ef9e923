//! How often somebody may guess.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Token buckets by key. An attempt takes one; a right one gives it back, so only wrong ones count.
#[derive(Debug)]
pub struct Limiter<K> {
    burst: u32,
    refill: Duration,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Attempts left, with fractions.
    left: f64,
    at: Instant,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// `burst` attempts at once, one more each `refill`; at most `capacity` keys are remembered.
    pub fn new(burst: u32, refill: Duration, capacity: usize) -> Self {
        Self {
            burst,
            refill,
            capacity,
            buckets: HashMap::new(),
        }
    }

    /// Takes one attempt; false when there is none left.
    pub fn take(&mut self, key: &K, now: Instant) -> bool {
        let mut bucket = self.bucket(key, now);
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        if !self.buckets.contains_key(key) {
            self.make_room(now);
        }
        self.buckets.insert(key.clone(), bucket);
        allowed
    }

    /// Gives an attempt back.
    pub fn give_back(&mut self, key: &K, now: Instant) {
        let bucket = self.bucket(key, now);
        let left = (bucket.left + 1.0).min(f64::from(self.burst));
        if let Some(kept) = self.buckets.get_mut(key) {
            *kept = Bucket { left, at: now };
        }
    }

    fn bucket(&self, key: &K, now: Instant) -> Bucket {
        let full = Bucket {
            left: f64::from(self.burst),
            at: now,
        };
        self.buckets
            .get(key)
            .map_or(full, |bucket| self.refilled(*bucket, now))
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        let left = bucket.left + passed / self.refill.as_secs_f64();
        Bucket {
            left: left.min(f64::from(self.burst)),
            at: now,
        }
    }

    /// Full buckets say nothing and go first; then the one that was used longest ago.
    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < self.capacity {
            return;
        }
        let full: Vec<K> = self
            .buckets
            .iter()
            .filter(|(_, bucket)| self.refilled(**bucket, now).left >= f64::from(self.burst))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &full {
            self.buckets.remove(key);
        }
        if full.is_empty() {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.buckets.remove(&key);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 address, which is one machine's to choose from.
pub fn source_key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn wrong_attempts_run_out_and_come_back_with_time() {
        let start = Instant::now();
        let mut limiter = Limiter::new(3, SECOND, 10);
        assert_eq!(
            [0; 4].map(|_| limiter.take(&"a", start)),
            [true, true, true, false]
        );
        assert!(limiter.take(&"b", start));
        assert!(limiter.take(&"a", start + SECOND));
        assert!(!limiter.take(&"a", start + SECOND));
        assert_eq!(
            [0; 4].map(|_| limiter.take(&"a", start + 60 * SECOND)),
            [true, true, true, false]
        );
    }

    #[test]
    fn right_attempts_cost_nothing() {
        let now = Instant::now();
        let mut limiter = Limiter::new(2, SECOND, 10);
        for _ in 0..100 {
            assert!(limiter.take(&"a", now));
            limiter.give_back(&"a", now);
        }
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1, 3600 * SECOND, 3);
        for key in 0..100u32 {
            assert!(limiter.take(&key, start + key * SECOND));
            assert!(limiter.buckets.len() <= 3);
        }
        assert!(!limiter.take(&99, start + 100 * SECOND));
    }

    #[test]
    fn sources_are_addresses_or_their_network() {
        let key = |text: &str| source_key(text.parse().unwrap()).to_string();
        assert_eq!(key("10.0.0.1"), "10.0.0.1");
        assert_eq!(key("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
