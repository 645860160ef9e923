//! Which address the next connection goes to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// First and longest time that a failing address is avoided.
const AVOID: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// All known addresses. Pure: time comes in as a parameter.
#[derive(Debug, Default)]
pub(super) struct Pool {
    backends: BTreeMap<SocketAddr, Backend>,
    /// Grows with each pick, so that addresses with equally many connections take turns.
    turn: u64,
    /// Whether addresses are asked for their readiness: a new one isn't ready before it has said so.
    asks: bool,
}

#[derive(Debug, Default)]
struct Backend {
    /// False once it is no longer an upstream; kept until its connections have ended.
    wanted: bool,
    connections: usize,
    last_turn: u64,
    failures: u32,
    avoid_until: Option<Instant>,
    /// It said that it isn't ready, or nothing yet.
    unready: bool,
    /// It has never said that it is ready: of those that aren't, the last choice.
    new: bool,
}

impl Pool {
    /// From now on addresses are asked for their readiness.
    pub(super) fn ask(&mut self) {
        self.asks = true;
    }

    /// Replaces the set of addresses. An empty set is refused: rather an old address than none.
    pub(super) fn set(&mut self, addresses: &BTreeSet<SocketAddr>) {
        if addresses.is_empty() {
            return;
        }
        for (address, backend) in &mut self.backends {
            backend.wanted = addresses.contains(address);
        }
        for address in addresses {
            let new = || Backend {
                unready: self.asks,
                new: self.asks,
                ..Backend::default()
            };
            self.backends.entry(*address).or_insert_with(new).wanted = true;
        }
        self.backends
            .retain(|_, backend| backend.wanted || backend.connections > 0);
    }

    /// The address for a new connection that was refused by `tried` already; its connection counts from now on.
    /// Addresses that aren't ready or failed lately come last, but they come: they may be all there is.
    pub(super) fn pick(&mut self, tried: &[SocketAddr], now: Instant) -> Option<SocketAddr> {
        let candidates = self
            .backends
            .iter_mut()
            .filter(|(address, backend)| backend.wanted && !tried.contains(address));
        let (address, backend) = candidates.min_by_key(|(_, backend)| {
            let avoid = backend.avoid_until.filter(|until| *until > now);
            (
                backend.unready,
                backend.new,
                avoid,
                backend.connections,
                backend.last_turn,
            )
        })?;
        self.turn += 1;
        backend.last_turn = self.turn;
        backend.connections += 1;
        Some(*address)
    }

    /// It accepted a connection.
    pub(super) fn accepted(&mut self, address: SocketAddr) {
        if let Some(backend) = self.backends.get_mut(&address) {
            backend.failures = 0;
            backend.avoid_until = None;
        }
    }

    /// It didn't accept a connection. `fraction` in 0..1 is the jitter.
    pub(super) fn refused(&mut self, address: SocketAddr, now: Instant, fraction: f64) {
        if let Some(backend) = self.backends.get_mut(&address) {
            let step = AVOID
                .0
                .saturating_mul(1 << backend.failures.min(10))
                .min(AVOID.1);
            backend.failures = backend.failures.saturating_add(1);
            backend.avoid_until = Some(now + step.mul_f64(0.5 + fraction / 2.0));
        }
    }

    /// What it said of itself; true when that is news.
    pub(super) fn is_ready(&mut self, address: SocketAddr, ready: bool) -> bool {
        let backend = self.backends.get_mut(&address);
        backend.is_some_and(|backend| {
            backend.new &= !ready;
            std::mem::replace(&mut backend.unready, !ready) == ready
        })
    }

    /// Those that connections go to.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let wanted = self.backends.iter().filter(|(_, backend)| backend.wanted);
        wanted.map(|(address, _)| *address).collect()
    }

    /// A connection that [`Self::pick`] counted has ended.
    pub(super) fn ended(&mut self, address: SocketAddr) {
        if let Some(backend) = self.backends.get_mut(&address) {
            backend.connections = backend.connections.saturating_sub(1);
            if backend.connections == 0 && !backend.wanted {
                self.backends.remove(&address);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.backends
            .values()
            .filter(|backend| backend.wanted)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn pool(ports: &[u16]) -> Pool {
        let mut pool = Pool::default();
        pool.set(&ports.iter().map(|port| address(*port)).collect());
        pool
    }

    #[test]
    fn connections_spread_evenly() {
        let mut pool = pool(&[1, 2, 3]);
        let now = Instant::now();
        let mut counts = BTreeMap::new();
        for _ in 0..30 {
            *counts.entry(pool.pick(&[], now).unwrap()).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| *count == 10), "{counts:?}");
    }

    #[test]
    fn idle_addresses_take_turns() {
        let mut pool = pool(&[1, 2]);
        let now = Instant::now();
        let mut picked = Vec::new();
        for _ in 0..4 {
            let one = pool.pick(&[], now).unwrap();
            pool.ended(one);
            picked.push(one.port());
        }
        assert_eq!(picked, [1, 2, 1, 2]);
    }

    #[test]
    fn failed_addresses_come_last_until_their_time_is_over() {
        let mut pool = pool(&[1, 2]);
        let now = Instant::now();
        pool.refused(address(1), now, 1.0);
        for _ in 0..5 {
            assert_eq!(pool.pick(&[], now), Some(address(2)));
        }
        assert_eq!(pool.pick(&[address(2)], now), Some(address(1)));
        assert_eq!(pool.pick(&[address(1), address(2)], now), None);
        assert_eq!(pool.pick(&[], now + AVOID.0), Some(address(1)));
    }

    #[test]
    fn what_is_not_ready_comes_last() {
        let mut pool = pool(&[1, 2]);
        let now = Instant::now();
        assert!(pool.is_ready(address(1), false));
        assert!(!pool.is_ready(address(1), false));
        for _ in 0..5 {
            assert_eq!(pool.pick(&[], now), Some(address(2)));
        }
        pool.refused(address(2), now, 1.0);
        assert_eq!(pool.pick(&[], now), Some(address(2)));
        assert_eq!(pool.pick(&[address(2)], now), Some(address(1)));
        assert!(pool.is_ready(address(1), true));
        assert_eq!(pool.pick(&[], now), Some(address(1)));
        assert!(!pool.is_ready(address(9), true));
    }

    /// Regression: a new kube-apiserver was connected to before its first answer, and refused what it was asked.
    #[test]
    fn a_new_address_comes_last_until_it_has_said_that_it_is_ready() {
        let mut pool = Pool::default();
        pool.ask();
        pool.set(&BTreeSet::from([address(1)]));
        let now = Instant::now();
        assert_eq!(pool.pick(&[], now), Some(address(1)));
        assert!(pool.is_ready(address(1), true));
        pool.set(&BTreeSet::from([address(1), address(2)]));
        for _ in 0..3 {
            assert_eq!(pool.pick(&[], now), Some(address(1)));
        }
        // One that has served before, and is only busy, comes before one that never has.
        assert!(pool.is_ready(address(1), false));
        assert_eq!(pool.pick(&[], now), Some(address(1)));
        assert!(pool.is_ready(address(2), true));
        assert_eq!(pool.pick(&[], now), Some(address(2)));
    }

    #[test]
    fn never_empties() {
        let mut pool = pool(&[1]);
        pool.set(&BTreeSet::new());
        assert_eq!(pool.pick(&[], Instant::now()), Some(address(1)));
    }

    #[test]
    fn a_removed_address_is_kept_only_for_its_connections() {
        let mut pool = pool(&[1]);
        let now = Instant::now();
        assert_eq!(pool.pick(&[], now), Some(address(1)));
        pool.set(&BTreeSet::from([address(2)]));
        assert_eq!(pool.pick(&[], now), Some(address(2)));
        assert_eq!(pool.pick(&[], now), Some(address(2)));
        pool.ended(address(1));
        assert_eq!((pool.len(), pool.backends.len()), (1, 1));
    }

    proptest! {
        /// Against a model that knows only the open connections: least connections, never an unknown address.
        #[test]
        fn picks_the_least_used(steps in prop::collection::vec((any::<bool>(), 0usize..8), 1..200)) {
            let mut pool = pool(&[1, 2, 3, 4]);
            let now = Instant::now();
            let mut open: Vec<SocketAddr> = Vec::new();
            for (opens, which) in steps {
                if opens || open.is_empty() {
                    let count = |one: u16| open.iter().filter(|other| other.port() == one).count();
                    let least = (1..=4).map(count).min().unwrap();
                    let picked = pool.pick(&[], now).unwrap();
                    prop_assert_eq!(count(picked.port()), least);
                    open.push(picked);
                } else {
                    pool.ended(open.swap_remove(which % open.len()));
                }
            }
        }
    }
}
