//! Every key and its versions, in memory.
//!
//! The keys lie in chunks that know how many of theirs exist, so that counting a range looks at the keys of its
//! first and last chunk only: each page of a list says how many keys are left.

mod chunk;
#[cfg(test)]
mod tests;

use super::range::KeyRange;
use super::version::{History, Row, Version};
use bytes::Bytes;
use chunk::Chunk;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The keys in order, each with its history.
#[derive(Clone, Debug)]
pub struct Index {
    /// Each under a key that no key in it is below; the first one, which always stays, under the smallest key.
    chunks: BTreeMap<Bytes, Chunk>,
}

/// What one step of a compaction found.
#[derive(Debug, Default)]
pub struct CompactionStep {
    /// Rows that nobody can ask for any more.
    pub dropped: Vec<Row>,
    /// Where the next step begins, `None` when this was the last.
    pub next: Option<Bytes>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::from([(Bytes::new(), Chunk::default())]),
        }
    }
}

impl Index {
    /// Records a write. Writes of one key come in the order of their rows.
    pub fn insert(&mut self, key: &Bytes, version: Version) {
        let up_to_key = (Bound::Unbounded, Bound::Included(key.as_ref()));
        let chunk = self.chunks.range_mut::<[u8], _>(up_to_key).next_back();
        // The smallest key is below every other, so there is one.
        if let Some((_, chunk)) = chunk
            && let Some((bound, split)) = chunk.insert(key, version)
        {
            self.chunks.insert(bound, split);
        }
    }

    /// The version of `key` in force at `revision`.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&Version> {
        self.history(key)?.at(revision)
    }

    /// The newest version of `key`, a tombstone included.
    pub fn latest(&self, key: &[u8]) -> Option<&Version> {
        self.history(key).map(History::latest)
    }

    /// Every key with its newest version, tombstones included.
    pub fn iter_latest(&self) -> impl Iterator<Item = (&Bytes, &Version)> {
        let keys = self
            .chunks
            .values()
            .flat_map(|chunk| chunk.between(&[], None));
        keys.map(|(key, history)| (key, history.latest()))
    }

    /// Whether a version of `key` stands in `row`.
    pub fn holds(&self, key: &[u8], row: Row) -> bool {
        self.history(key).is_some_and(|history| history.holds(row))
    }

    /// Every key of `range` that existed at `revision`, in order.
    pub fn iter<'a>(
        &'a self,
        range: &KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Version)> + use<'a> {
        let (start, end) = (range.start().clone(), range.end().cloned());
        self.overlapping(range)
            .flat_map(move |(_, chunk)| chunk.between(&start, end.as_deref()))
            .filter_map(move |(key, history)| Some((key, history.at(revision)?)))
    }

    /// How many keys of `range` existed at `revision`.
    pub fn count(&self, range: &KeyRange, revision: i64) -> usize {
        let (start, end) = (range.start(), range.end().map(Bytes::as_ref));
        let mut chunks = self.overlapping(range).peekable();
        let mut count = 0;
        while let Some((bound, chunk)) = chunks.next() {
            // Below where the next one begins, which is below the end: no key has to be looked at.
            count += if bound >= start && chunks.peek().is_some() {
                chunk.count_all(revision)
            } else {
                chunk.count(start, end, revision)
            };
        }
        count
    }

    /// Forgets, in about `keys` keys from `from` on, what is not in force at `revision`.
    pub fn compact(&mut self, from: &[u8], keys: usize, revision: i64) -> CompactionStep {
        let mut step = CompactionStep::default();
        let mut empty = Vec::new();
        let mut seen = 0;
        let on = (Bound::Included(from), Bound::Unbounded);
        for (bound, chunk) in self.chunks.range_mut::<[u8], _>(on) {
            if seen >= keys {
                step.next = Some(bound.clone());
                break;
            }
            seen += chunk.len();
            chunk.compact(revision, &mut step.dropped);
            if chunk.len() == 0 && !bound.is_empty() {
                empty.push(bound.clone());
            }
        }
        for bound in empty {
            self.chunks.remove(&bound);
        }
        step
    }

    /// Keys held, deleted ones included.
    pub fn len(&self) -> usize {
        self.chunks.values().map(Chunk::len).sum()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn history(&self, key: &[u8]) -> Option<&History> {
        let up_to_key = (Bound::Unbounded, Bound::Included(key));
        let chunk = self.chunks.range::<[u8], _>(up_to_key).next_back();
        chunk?.1.history(key)
    }

    /// The chunks that may hold keys of `range`, each with the key that it begins at.
    fn overlapping<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Chunk)> + use<'a> {
        let up_to_start = (Bound::Unbounded, Bound::Included(range.start().as_ref()));
        let first = self.chunks.range::<[u8], _>(up_to_start).next_back();
        let first = first.map_or(&[][..], |(bound, _)| bound.as_ref());
        let end = match range.end() {
            // Bounds in the wrong order are an empty range to etcd, a panic to a map.
            Some(end) if end.as_ref() < first => Bound::Excluded(first),
            Some(end) => Bound::Excluded(end.as_ref()),
            None => Bound::Unbounded,
        };
        let end = match end {
            Bound::Excluded(end) if end == first => Bound::Included(first),
            end => end,
        };
        self.chunks.range::<[u8], _>((Bound::Included(first), end))
    }
}
