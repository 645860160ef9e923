//! Leases: who made them, when they end, which keys live under them.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Shortest time to live that is given, in seconds.
pub const MIN_TTL: i64 = 2;
/// Longest time to live that may be asked for, in seconds.
pub const MAX_TTL: i64 = 9_000_000_000;

/// One lease. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number, never 0.
    pub id: i64,
    /// Seconds it was granted for.
    pub ttl: i64,
    /// When it ends, unless renewed.
    pub deadline: i64,
    /// Who made it.
    pub owner: String,
}

impl Lease {
    /// Whether its time is over.
    pub fn is_expired(&self, now: i64) -> bool {
        self.deadline <= now
    }

    /// Whole seconds left.
    pub fn remaining(&self, now: i64) -> i64 {
        (self.deadline - now).max(0) / 1000
    }

    /// The end of a lease of `ttl` seconds that begins `now`.
    pub fn deadline(ttl: i64, now: i64) -> i64 {
        now.saturating_add(ttl.saturating_mul(1000))
    }
}

/// A change of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// Made.
    Granted(Lease),
    /// Renewed until `deadline`.
    Renewed {
        /// Which.
        id: i64,
        /// Its new end.
        deadline: i64,
    },
    /// Ended.
    Revoked {
        /// Which.
        id: i64,
    },
}

/// All leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_id: BTreeMap<i64, Entry>,
    /// (deadline, id), soonest first.
    by_deadline: BTreeSet<(i64, i64)>,
}

#[derive(Clone, Debug)]
struct Entry {
    lease: Lease,
    keys: BTreeSet<Bytes>,
}

impl Leases {
    /// The lease `id`.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id).map(|entry| &entry.lease)
    }

    /// The keys that live under lease `id`.
    pub fn keys(&self, id: i64) -> impl Iterator<Item = &Bytes> {
        self.by_id
            .get(&id)
            .into_iter()
            .flat_map(|entry| &entry.keys)
    }

    /// All leases by their end, soonest first.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_deadline.iter().filter_map(|(_, id)| self.get(*id))
    }

    /// Leases whose time is over, at most `limit`.
    pub fn expired(&self, now: i64, limit: usize) -> Vec<i64> {
        let over = self
            .by_deadline
            .iter()
            .take_while(|(deadline, _)| *deadline <= now);
        over.take(limit).map(|(_, id)| *id).collect()
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &LeaseChange) {
        match change {
            LeaseChange::Granted(lease) => {
                self.by_deadline.insert((lease.deadline, lease.id));
                let entry = Entry {
                    lease: lease.clone(),
                    keys: BTreeSet::new(),
                };
                self.by_id.insert(lease.id, entry);
            }
            LeaseChange::Renewed { id, deadline } => {
                if let Some(entry) = self.by_id.get_mut(id) {
                    self.by_deadline.remove(&(entry.lease.deadline, *id));
                    entry.lease.deadline = *deadline;
                    self.by_deadline.insert((*deadline, *id));
                }
            }
            LeaseChange::Revoked { id } => {
                if let Some(entry) = self.by_id.remove(id) {
                    self.by_deadline.remove(&(entry.lease.deadline, *id));
                }
            }
        }
    }

    /// Shortens what lasts longer than it was granted for: the clock was set back since.
    pub fn clamp(&mut self, now: i64) {
        let late = |lease: &Lease| lease.deadline > Lease::deadline(lease.ttl, now);
        let late: Vec<Lease> = self.iter().filter(|lease| late(lease)).cloned().collect();
        for Lease { id, ttl, .. } in late {
            self.apply(&LeaseChange::Renewed {
                id,
                deadline: Lease::deadline(ttl, now),
            });
        }
    }

    /// Gives every lease at least `grace` milliseconds from `now` on, but not more than it was granted for: while
    /// nobody wrote, nobody could renew.
    pub fn stretch(&mut self, now: i64, grace: i64) {
        let stretched: Vec<(i64, i64)> = self
            .iter()
            .map(|lease| {
                let left = (lease.deadline - now).max(0).saturating_add(grace);
                let end = now.saturating_add(left);
                (lease.id, end.min(Lease::deadline(lease.ttl, now)))
            })
            .collect();
        for (id, deadline) in stretched {
            self.apply(&LeaseChange::Renewed { id, deadline });
        }
    }

    /// Moves `key` from one lease to another; 0 is none.
    pub fn attach(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(entry) = self.by_id.get_mut(&from) {
            entry.keys.remove(key);
        }
        if let Some(entry) = self.by_id.get_mut(&to) {
            entry.keys.insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, deadline: i64) -> LeaseChange {
        LeaseChange::Granted(Lease {
            id,
            ttl: 5,
            deadline,
            owner: "test".into(),
        })
    }

    #[test]
    fn expires_in_order_and_not_after_renewal() {
        let mut leases = Leases::default();
        [lease(1, 300), lease(2, 100), lease(3, 200)]
            .iter()
            .for_each(|c| leases.apply(c));
        assert_eq!(leases.expired(250, 10), [2, 3]);
        leases.apply(&LeaseChange::Renewed {
            id: 2,
            deadline: 900,
        });
        leases.apply(&LeaseChange::Revoked { id: 3 });
        assert_eq!(leases.expired(300, 10), [1]);
        assert_eq!(leases.iter().map(|l| l.id).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nobody_more_than_was_granted() {
        let mut leases = Leases::default();
        [lease(1, 300), lease(2, 100_000)]
            .iter()
            .for_each(|c| leases.apply(c));
        leases.clamp(1000);
        assert_eq!(
            leases.iter().map(|l| l.deadline).collect::<Vec<_>>(),
            [300, 6000]
        );
    }

    #[test]
    fn nothing_ends_before_its_owner_could_renew_it() {
        let mut leases = Leases::default();
        [lease(1, 300), lease(2, 12_000), lease(3, 999_000)]
            .iter()
            .for_each(|c| leases.apply(c));
        leases.stretch(10_000, 1_000);
        let ends: Vec<_> = leases.iter().map(|l| (l.id, l.deadline)).collect();
        assert_eq!(ends, [(1, 11_000), (2, 13_000), (3, 15_000)]);
    }

    #[test]
    fn a_key_lives_under_one_lease() {
        let mut leases = Leases::default();
        leases.apply(&lease(1, 300));
        leases.apply(&lease(2, 300));
        let key = Bytes::from_static(b"k");
        leases.attach(&key, 0, 1);
        leases.attach(&key, 1, 2);
        assert_eq!(leases.keys(1).count(), 0);
        assert_eq!(leases.keys(2).collect::<Vec<_>>(), [&key]);
    }
}
