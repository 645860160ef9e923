//! Everything that is known without reading the log: the index, the leases, the revisions.

use super::alarm::Alarms;
use super::index::Index;
use super::lease::{Lease, LeaseChange, Leases};
use super::version::{Row, Version};
use bytes::Bytes;

/// The revision of a store that was never written to.
pub const FIRST_REVISION: i64 = 1;
/// "Never compacted", as etcd counts it.
pub const NEVER_COMPACTED: i64 = -1;

/// One write of one key, as it goes to the log, to the index and to the watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which key.
    pub key: Bytes,
    /// What became of it.
    pub version: Version,
    /// Its value; empty for a deletion.
    pub value: Bytes,
    /// What was in force before, `None` if the key didn't exist.
    pub previous: Option<Version>,
}

/// What one request changed: all its writes have one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The alarms from now on.
    pub alarms: Option<Alarms>,
    /// Writes of keys.
    pub writes: Vec<Write>,
    /// Changes of leases.
    pub leases: Vec<LeaseChange>,
    /// Revisions below this one became forgotten.
    pub compacted: Option<i64>,
}

impl Changes {
    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.leases.is_empty()
            && self.compacted.is_none()
            && self.alarms.is_none()
    }

    /// The revision of the writes.
    pub fn revision(&self) -> Option<i64> {
        self.writes.first().map(|write| write.version.mod_revision)
    }
}

/// The store at its newest revision.
#[derive(Clone, Debug)]
pub struct State {
    /// What is wrong with the store.
    pub alarms: Alarms,
    /// Keys and their versions.
    pub index: Index,
    /// Leases.
    pub leases: Leases,
    /// The newest revision.
    pub revision: i64,
    /// Revisions below this one are forgotten.
    pub compacted: i64,
    /// The row that the next write gets.
    pub next_row: Row,
}

impl Default for State {
    fn default() -> Self {
        Self {
            alarms: Alarms::default(),
            index: Index::default(),
            leases: Leases::default(),
            revision: FIRST_REVISION,
            compacted: NEVER_COMPACTED,
            next_row: 1,
        }
    }
}

impl State {
    /// Takes over leases that were read from the log, with the keys that live under them.
    pub fn adopt(&mut self, leases: Vec<Lease>) {
        self.leases = Leases::default();
        for lease in leases {
            self.leases.apply(&LeaseChange::Granted(lease));
        }
        for (key, version) in self.index.iter_latest() {
            self.leases.attach(key, 0, version.lease);
        }
    }

    /// Makes the changes of one request visible.
    pub fn apply(&mut self, changes: &Changes) {
        for write in &changes.writes {
            let version = write.version;
            self.index.insert(&write.key, version);
            self.leases.attach(
                &write.key,
                write.previous.map_or(0, |p| p.lease),
                version.lease,
            );
            self.revision = version.mod_revision;
            self.next_row = version.row + 1;
        }
        for change in &changes.leases {
            self.leases.apply(change);
        }
        self.alarms = changes.alarms.unwrap_or(self.alarms);
        self.compacted = changes.compacted.unwrap_or(self.compacted);
    }
}
