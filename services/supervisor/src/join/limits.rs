//! Attempts per source address: a bucket that refills, in a bounded table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Attempts at once. Nodes behind one NAT, or behind the balancer of a small cluster, share a source.
const BURST: f64 = 60.0;
/// Attempts per second after that.
const RATE: f64 = 5.0;
/// Sources in the table.
const MOST: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The table. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    buckets: Arc<Mutex<HashMap<IpAddr, Bucket>>>,
}

impl Attempts {
    /// Takes one attempt of `source`; `false` when it has none left now.
    pub fn take(&self, source: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        if buckets.len() >= MOST && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| refill(bucket, now).tokens < BURST);
            if buckets.len() >= MOST {
                // So many sources at once are an attack: newcomers wait, those in the table don't.
                return false;
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket {
            tokens: BURST,
            filled: now,
        });
        refill(bucket, now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

fn refill(bucket: &mut Bucket, now: Instant) -> &Bucket {
    let elapsed: Duration = now.saturating_duration_since(bucket.filled);
    bucket.tokens = (bucket.tokens + elapsed.as_secs_f64() * RATE).min(BURST);
    bucket.filled = now;
    bucket
}

/// An IPv6 source has a whole /64 to itself.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let attempts = Attempts::default();
        let (source, start) = ("192.0.2.7".parse().unwrap(), Instant::now());
        let taken = (0..100).filter(|_| attempts.take(source, start)).count();
        assert_eq!(taken, 60);
        let later = start + Duration::from_secs(2);
        assert_eq!(
            (0..100).filter(|_| attempts.take(source, later)).count(),
            10
        );
        assert!(attempts.take("192.0.2.8".parse().unwrap(), start));
    }

    #[test]
    fn the_table_is_bounded_and_full_buckets_leave_it() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for n in 0..u32::try_from(MOST).unwrap() {
            assert!(attempts.take(IpAddr::from(n.to_be_bytes()), start));
        }
        let newcomer = "2001:db8::1".parse().unwrap();
        assert!(!attempts.take(newcomer, start));
        assert!(attempts.take(newcomer, start + Duration::from_secs(1)));
        assert_eq!(attempts.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_whole_ipv6_network_is_one_source() {
        assert_eq!(
            network("2001:db8::1".parse().unwrap()),
            network("2001:db8::ffff:2".parse().unwrap())
        );
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}
