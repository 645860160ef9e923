//! How often an address may try to enrol: a token bucket each, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses that are told apart; beyond them all share one bucket.
const MAX_ADDRESSES: usize = 4096;

/// How many attempts, how fast they come back.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Attempts at once.
    pub burst: u32,
    /// One more attempt each.
    pub every: Duration,
}

/// The buckets.
#[derive(Debug)]
pub struct Attempts {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

/// When the bucket is full again: earlier than now means full.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Attempts {
    /// Full buckets.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
            others: Bucket { full_at: now },
        }
    }

    /// Takes one attempt of `address`; the error is how long to wait for the next.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = network_of(address);
        if !self.buckets.contains_key(&address) && self.buckets.len() >= MAX_ADDRESSES {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        let room = self.buckets.len() < MAX_ADDRESSES || self.buckets.contains_key(&address);
        let bucket = if room {
            self.buckets
                .entry(address)
                .or_insert(Bucket { full_at: now })
        } else {
            &mut self.others
        };
        let full_at = bucket.full_at.max(now) + self.rate.every;
        let depth = self.rate.every * self.rate.burst;
        match (full_at - now)
            .checked_sub(depth)
            .filter(|over| !over.is_zero())
        {
            None => {
                bucket.full_at = full_at;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// Who has one IPv6 address has its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(1),
    };

    #[test]
    fn a_burst_then_one_by_one() {
        let start = Instant::now();
        let mut attempts = Attempts::new(RATE, start);
        let address = "192.0.2.7".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(attempts.take(address, start), Ok(()));
        }
        assert_eq!(attempts.take(address, start), Err(Duration::from_secs(1)));
        assert_eq!(attempts.take("192.0.2.8".parse().unwrap(), start), Ok(()));
        let later = start + Duration::from_secs(1);
        assert_eq!(attempts.take(address, later), Ok(()));
        assert!(attempts.take(address, later).is_err());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let start = Instant::now();
        let mut attempts = Attempts::new(RATE, start);
        for host in 0..3u16 {
            assert!(
                attempts
                    .take(format!("2001:db8::{host:x}").parse().unwrap(), start)
                    .is_ok()
            );
        }
        assert!(
            attempts
                .take("2001:db8::ffff".parse().unwrap(), start)
                .is_err()
        );
        for host in 0..20_000u32 {
            let _ = attempts.take(IpAddr::V4(host.into()), start);
        }
        assert_eq!(attempts.buckets.len(), MAX_ADDRESSES);
        // When everybody's bucket is full again, strangers get their own.
        let later = start + Duration::from_secs(60);
        assert!(
            attempts
                .take("198.51.100.1".parse().unwrap(), later)
                .is_ok()
        );
        assert_eq!(attempts.buckets.len(), 1);
    }
}
