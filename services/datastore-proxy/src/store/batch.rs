//! What one transaction is to change, as a database that takes whole batches wants it.

use crate::domain::alarm::Alarms;
use crate::domain::lease::{Lease, LeaseChange};
use crate::domain::state::{Changes, Write};
use crate::domain::version::Row;
use std::collections::{BTreeMap, BTreeSet};

/// The changes of several requests, folded: each lease is in at most one of the three sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// New rows of the log, in order.
    pub writes: Vec<Write>,
    /// Leases as they are to be, by their ids.
    pub granted: BTreeMap<i64, Lease>,
    /// New ends of leases that are there.
    pub renewed: BTreeMap<i64, i64>,
    /// Leases that are over.
    pub ended: BTreeSet<i64>,
    /// Revisions below this one become forgotten.
    pub compacted: Option<i64>,
    /// The alarms as they are to be.
    pub alarms: Option<Alarms>,
    /// Rows that a compaction dropped.
    pub removed: Vec<Row>,
}

impl Batch {
    /// Adds what one request changed.
    pub fn add(&mut self, changes: &Changes) {
        self.writes.extend(changes.writes.iter().cloned());
        changes.leases.iter().for_each(|change| self.fold(change));
        self.compacted = changes.compacted.or(self.compacted);
        self.alarms = changes.alarms.or(self.alarms);
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The last row that it adds.
    pub fn last_row(&self) -> Option<Row> {
        self.writes.last().map(|write| write.version.row)
    }

    fn fold(&mut self, change: &LeaseChange) {
        match change {
            LeaseChange::Granted(lease) => {
                self.ended.remove(&lease.id);
                self.granted.insert(lease.id, lease.clone());
            }
            LeaseChange::Renewed { id, deadline } => match self.granted.get_mut(id) {
                Some(lease) => lease.deadline = *deadline,
                None => {
                    self.renewed.insert(*id, *deadline);
                }
            },
            LeaseChange::Revoked { id } => {
                self.granted.remove(id);
                self.renewed.remove(id);
                self.ended.insert(*id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, deadline: i64) -> Lease {
        Lease {
            id,
            ttl: 5,
            deadline,
            owner: "test".into(),
        }
    }

    fn folded(leases: Vec<LeaseChange>) -> Batch {
        let mut batch = Batch::default();
        batch.add(&Changes {
            leases,
            ..Changes::default()
        });
        batch
    }

    #[test]
    fn a_lease_is_written_as_it_ends_up() {
        let renewed = LeaseChange::Renewed { id: 1, deadline: 9 };
        let batch = folded(vec![LeaseChange::Granted(lease(1, 5)), renewed.clone()]);
        assert_eq!(batch.granted, BTreeMap::from([(1, lease(1, 9))]));
        assert!(batch.renewed.is_empty());

        let batch = folded(vec![renewed, LeaseChange::Revoked { id: 1 }]);
        assert_eq!((batch.renewed.len(), batch.ended.len()), (0, 1));

        let again = LeaseChange::Granted(lease(1, 7));
        let batch = folded(vec![LeaseChange::Revoked { id: 1 }, again]);
        assert_eq!(batch.granted, BTreeMap::from([(1, lease(1, 7))]));
        assert!(batch.ended.is_empty());
    }
}
