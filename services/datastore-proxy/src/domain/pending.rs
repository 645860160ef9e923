//! The changes of a batch that isn't committed yet, as seen on top of the state before it.

use super::alarm::{Alarm, Alarms};
use super::fault::Fault;
use super::lease::{Lease, LeaseChange};
use super::query::View;
use super::range::KeyRange;
use super::state::{Changes, State, Write};
use super::version::{Row, Version};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::iter::Peekable;

/// Where values of committed rows come from.
pub trait Values {
    /// The value of `row`.
    fn value(&self, row: Row) -> Result<Bytes, Fault>;
}

/// A batch in the making. Requests are run on it one after the other, each sees what the ones before it did, and
/// a request that fails leaves no trace.
pub struct Pending<'a> {
    state: &'a State,
    values: &'a dyn Values,
    revision: i64,
    next_row: Row,
    /// The newest versions that the batch made.
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// What the batch made of leases; `None` is ended.
    leases: BTreeMap<i64, Vec<Option<Lease>>>,
    /// What the batch compacted.
    compactions: Vec<i64>,
    /// What the batch made of the alarms.
    alarms: Vec<Alarms>,
    first_row: Row,
    row_values: Vec<Bytes>,
    current: Changes,
}

impl<'a> Pending<'a> {
    /// An empty batch on `state`.
    pub fn new(state: &'a State, values: &'a dyn Values) -> Self {
        Self {
            state,
            values,
            revision: state.revision,
            next_row: state.next_row,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            compactions: Vec::new(),
            alarms: Vec::new(),
            first_row: state.next_row,
            row_values: Vec::new(),
            current: Changes::default(),
        }
    }

    /// Ends a request that worked and returns what it changed.
    pub fn finish(&mut self) -> Changes {
        if !self.current.writes.is_empty() {
            self.revision += 1;
        }
        std::mem::take(&mut self.current)
    }

    /// Undoes the newest request, which had [finished](Self::finish) with `changes`.
    pub fn undo(&mut self, changes: Changes) {
        if let Some(revision) = changes.revision() {
            self.revision = revision - 1;
        }
        self.current = changes;
        self.abandon();
    }

    /// Ends a request that failed: what it had done so far is undone.
    pub fn abandon(&mut self) {
        let changes = std::mem::take(&mut self.current);
        for write in changes.writes.iter().rev() {
            self.next_row = write.version.row;
            self.row_values.pop();
            pop(&mut self.keys, &write.key);
        }
        for change in changes.leases.iter().rev() {
            match change {
                LeaseChange::Granted(Lease { id, .. })
                | LeaseChange::Renewed { id, .. }
                | LeaseChange::Revoked { id } => pop(&mut self.leases, id),
            }
        }
        if changes.compacted.is_some() {
            self.compactions.pop();
        }
        if changes.alarms.is_some() {
            self.alarms.pop();
        }
    }

    /// Writes `key`; `None` deletes it.
    pub fn write(&mut self, key: &Bytes, value: Option<(Bytes, i64)>) {
        let revision = self.revision + 1;
        let previous = self.get(key, revision);
        let row = self.next_row;
        let (version, value) = match value {
            None => (Version::tombstone(row, revision), Bytes::new()),
            Some((value, lease)) => {
                let create_revision = previous.map_or(revision, |p| p.create_revision);
                let version = previous.map_or(1, |p| p.version + 1);
                (
                    Version {
                        row,
                        mod_revision: revision,
                        create_revision,
                        version,
                        lease,
                    },
                    value,
                )
            }
        };
        self.next_row += 1;
        self.row_values.push(value.clone());
        self.keys.entry(key.clone()).or_default().push(version);
        self.current.writes.push(Write {
            key: key.clone(),
            version,
            value,
            previous,
        });
    }

    /// The lease `id`.
    pub fn lease(&self, id: i64) -> Option<&Lease> {
        match self.leases.get(&id).and_then(|leases| leases.last()) {
            Some(lease) => lease.as_ref(),
            None => self.state.leases.get(id),
        }
    }

    /// The keys that live under lease `id`, in order.
    pub fn keys_of(&self, id: i64) -> Vec<Bytes> {
        let now = self.revision();
        let mut keys: Vec<Bytes> = self.state.leases.keys(id).cloned().collect();
        keys.extend(self.keys.keys().cloned());
        keys.retain(|key| {
            self.get(key, now)
                .is_some_and(|version| version.lease == id)
        });
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Changes a lease.
    pub fn change_lease(&mut self, change: LeaseChange) {
        let (id, lease) = match &change {
            LeaseChange::Granted(lease) => (lease.id, Some(lease.clone())),
            LeaseChange::Renewed { id, deadline } => {
                let lease = self.lease(*id).cloned();
                (
                    *id,
                    lease.map(|lease| Lease {
                        deadline: *deadline,
                        ..lease
                    }),
                )
            }
            LeaseChange::Revoked { id } => (*id, None),
        };
        self.leases.entry(id).or_default().push(lease);
        self.current.leases.push(change);
    }

    /// Raises or clears an alarm; `false` if that changes nothing.
    pub fn set_alarm(&mut self, alarm: Alarm, raised: bool) -> bool {
        let before = self.alarms.last().copied().unwrap_or(self.state.alarms);
        let after = before.with(alarm, raised);
        if after == before {
            return false;
        }
        self.alarms.push(after);
        self.current.alarms = Some(after);
        true
    }

    /// Forgets revisions below `revision`.
    pub fn compact(&mut self, revision: i64) {
        self.compactions.push(revision);
        self.current.compacted = Some(revision);
    }
}

/// The newest of `versions` that was in force at `revision`.
fn in_force(versions: &[Version], revision: i64) -> Option<Version> {
    versions
        .iter()
        .rev()
        .find(|version| version.mod_revision <= revision)
        .copied()
}

/// Takes back the newest entry of `key`.
fn pop<K: Ord, V>(stacks: &mut BTreeMap<K, Vec<V>>, key: &K) {
    if let Some(stack) = stacks.get_mut(key) {
        stack.pop();
        if stack.is_empty() {
            stacks.remove(key);
        }
    }
}

impl View for Pending<'_> {
    fn revision(&self) -> i64 {
        self.revision + i64::from(!self.current.writes.is_empty())
    }

    fn compacted(&self) -> i64 {
        self.compactions
            .last()
            .copied()
            .unwrap_or(self.state.compacted)
    }

    fn get(&self, key: &[u8], revision: i64) -> Option<Version> {
        match self
            .keys
            .get(key)
            .and_then(|versions| in_force(versions, revision))
        {
            Some(version) => Some(version).filter(|version| !version.is_tombstone()),
            None => self.state.index.get(key, revision).copied(),
        }
    }

    fn scan(&self, range: &KeyRange, revision: i64, visit: &mut dyn FnMut(&Bytes, Version)) {
        if range.is_empty() {
            return;
        }
        let own = self
            .keys
            .range::<[u8], _>(range.bounds())
            .filter_map(|(key, versions)| Some((key, in_force(versions, revision)?)));
        let base = self
            .state
            .index
            .iter(range, revision)
            .map(|(key, version)| (key, *version));
        merge(own.peekable(), base.peekable(), visit);
    }

    fn value(&self, row: Row) -> Result<Bytes, Fault> {
        match usize::try_from(row - self.first_row) {
            Ok(own) => self.row_values.get(own).cloned().ok_or(Fault::Corrupt),
            Err(_) => self.values.value(row),
        }
    }
}

/// Visits both in order; where both have a key, `own` counts, and its tombstones hide the other's.
fn merge<'k>(
    mut own: Peekable<impl Iterator<Item = (&'k Bytes, Version)>>,
    mut base: Peekable<impl Iterator<Item = (&'k Bytes, Version)>>,
    visit: &mut dyn FnMut(&Bytes, Version),
) {
    loop {
        let next = match (own.peek(), base.peek()) {
            (None, None) => return,
            (Some((a, _)), Some((b, _))) if a == b => {
                base.next();
                own.next()
            }
            (Some((a, _)), Some((b, _))) if a < b => own.next(),
            (Some(_), None) => own.next(),
            (_, Some(_)) => base.next(),
        };
        if let Some((key, version)) = next
            && !version.is_tombstone()
        {
            visit(key, version);
        }
    }
}
