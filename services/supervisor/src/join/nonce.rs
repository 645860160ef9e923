//! Nonces for rejoining: each once, for a minute, in a bounded table.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Life of a nonce.
pub const LIFE: Duration = Duration::from_secs(60);
/// Nonces at one time.
const MOST: usize = 4096;

/// A nonce.
pub type Nonce = [u8; 32];

/// The nonces that were given and not used. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Nonces {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// In the order of their end.
    order: VecDeque<(Instant, Nonce)>,
    open: HashSet<Nonce>,
}

impl Nonces {
    /// Notes a fresh nonce. When the table is full, the oldest goes: whoever asked for it has had the longest
    /// time to use it.
    pub fn give(&self, nonce: Nonce, now: Instant) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now);
        while table.order.len() >= MOST {
            table.drop_oldest();
        }
        table.order.push_back((now + LIFE, nonce));
        table.open.insert(nonce);
    }

    /// Uses a nonce up; `false` when it isn't (or no longer) there.
    pub fn take(&self, nonce: &Nonce, now: Instant) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now);
        table.open.remove(nonce)
    }
}

impl Table {
    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(end, _)| *end <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, nonce)) = self.order.pop_front() {
            self.open.remove(&nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_and_for_a_minute() {
        let nonces = Nonces::default();
        let start = Instant::now();
        nonces.give([1; 32], start);
        nonces.give([2; 32], start);
        assert!(nonces.take(&[1; 32], start));
        assert!(!nonces.take(&[1; 32], start));
        assert!(!nonces.take(&[3; 32], start));
        assert!(!nonces.take(&[2; 32], start + LIFE));
    }

    #[test]
    fn the_table_is_bounded() {
        let nonces = Nonces::default();
        let start = Instant::now();
        for n in 0..=u32::try_from(MOST).unwrap() {
            let mut nonce = [0; 32];
            nonce[..4].copy_from_slice(&n.to_be_bytes());
            nonces.give(nonce, start);
        }
        assert_eq!(nonces.table.lock().unwrap().open.len(), MOST);
        assert!(!nonces.take(&[0; 32], start));
    }
}
