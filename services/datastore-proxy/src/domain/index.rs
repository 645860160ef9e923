//! Every key and its versions, in memory.

use super::range::KeyRange;
use super::version::{History, Row, Version};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The keys in order, each with its history.
#[derive(Clone, Debug, Default)]
pub struct Index {
    keys: BTreeMap<Bytes, History>,
}

/// What one step of a compaction found.
#[derive(Debug, Default)]
pub struct CompactionStep {
    /// Rows that nobody can ask for any more.
    pub dropped: Vec<Row>,
    /// Where the next step begins, `None` when this was the last.
    pub next: Option<Bytes>,
}

impl Index {
    /// Records a write. Writes of one key come in the order of their rows.
    pub fn insert(&mut self, key: &Bytes, version: Version) {
        match self.keys.get_mut(key) {
            Some(history) => history.push(version),
            None => {
                self.keys.insert(key.clone(), History::new(version));
            }
        }
    }

    /// The version of `key` in force at `revision`.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&Version> {
        self.keys.get(key)?.at(revision)
    }

    /// Every key of `range` that existed at `revision`, in order.
    pub fn iter<'a>(
        &'a self,
        range: &KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Version)> + use<'a> {
        let bounds = if range.is_empty() {
            (Bound::Included(&[][..]), Bound::Excluded(&[][..]))
        } else {
            range.bounds()
        };
        self.keys
            .range::<[u8], _>(bounds)
            .filter_map(move |(key, history)| Some((key, history.at(revision)?)))
    }

    /// Forgets, in at most `keys` keys from `from` on, what is not in force at `revision`.
    pub fn compact(&mut self, from: &[u8], keys: usize, revision: i64) -> CompactionStep {
        let mut step = CompactionStep::default();
        let mut gone = Vec::new();
        let bounds = (Bound::Included(from), Bound::Unbounded);
        for (seen, (key, history)) in self.keys.range_mut::<[u8], _>(bounds).enumerate() {
            if seen == keys {
                step.next = Some(key.clone());
                break;
            }
            if history.compact(revision, &mut step.dropped) {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.keys.remove(&key);
        }
        step
    }

    /// Keys held, deleted ones included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
