//! Keys that lie next to each other.

use crate::domain::version::{History, Row, Version};
use bytes::Bytes;

/// Keys of one chunk at most. Small in unit tests, so that they see many chunks.
const KEYS: usize = if cfg!(test) { 8 } else { 256 };

/// Keys in order with their histories, and how many of them exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    keys: Vec<(Bytes, History)>,
    /// Keys whose newest version is no tombstone.
    live: usize,
    /// The newest revision that any of its keys was written at.
    newest: i64,
}

impl Chunk {
    /// Records a write. A chunk that grew too large loses its upper part, which is returned with its first key.
    pub(super) fn insert(&mut self, key: &Bytes, version: Version) -> Option<(Bytes, Self)> {
        self.newest = self.newest.max(version.mod_revision);
        self.live += usize::from(!version.is_tombstone());
        match self.search(key) {
            Ok(at) => {
                let (_, history) = self.keys.get_mut(at)?;
                self.live -= usize::from(!history.latest().is_tombstone());
                history.push(version);
                None
            }
            Err(at) => {
                self.keys.insert(at, (key.clone(), History::new(version)));
                self.split(at)
            }
        }
    }

    fn split(&mut self, inserted: usize) -> Option<(Bytes, Self)> {
        if self.keys.len() <= KEYS {
            return None;
        }
        // Keys that come in order, as at the start, leave full chunks behind.
        let at = if inserted == KEYS { KEYS } else { KEYS / 2 };
        let mut keys = Vec::with_capacity(KEYS);
        keys.extend(self.keys.drain(at..));
        let live = keys.iter().filter(|(_, history)| is_live(history)).count();
        self.live -= live;
        let bound = keys.first()?.0.clone();
        let newest = self.newest;
        Some((bound, Self { keys, live, newest }))
    }

    /// The history of `key`.
    pub(super) fn history(&self, key: &[u8]) -> Option<&History> {
        let at = self.search(key).ok()?;
        self.keys.get(at).map(|(_, history)| history)
    }

    /// The keys from `start` on, up to but without `end`.
    pub(super) fn between<'a>(
        &'a self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a History)> + use<'a> {
        let keys = self.slice(start, end);
        keys.iter().map(|(key, history)| (key, history))
    }

    /// How many of its keys existed at `revision`.
    pub(super) fn count_all(&self, revision: i64) -> usize {
        if revision >= self.newest {
            return self.live;
        }
        existed(&self.keys, revision)
    }

    /// How many keys between `start` and `end` existed at `revision`.
    pub(super) fn count(&self, start: &[u8], end: Option<&[u8]>, revision: i64) -> usize {
        let keys = self.slice(start, end);
        if keys.len() == self.keys.len() {
            return self.count_all(revision);
        }
        existed(keys, revision)
    }

    /// Drops what is not in force at `revision`, telling `dropped` the rows.
    pub(super) fn compact(&mut self, revision: i64, dropped: &mut Vec<Row>) {
        // Only deleted keys go, so as many as before exist.
        self.keys
            .retain_mut(|(_, history)| !history.compact(revision, dropped));
    }

    /// Keys held, deleted ones included.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn slice(&self, start: &[u8], end: Option<&[u8]>) -> &[(Bytes, History)] {
        let first = self.keys.partition_point(|(key, _)| key < start);
        let last = end.map_or(self.keys.len(), |end| {
            self.keys.partition_point(|(key, _)| key < end)
        });
        self.keys.get(first..last).unwrap_or_default()
    }

    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys
            .binary_search_by(|(other, _)| other.as_ref().cmp(key))
    }
}

fn existed(keys: &[(Bytes, History)], revision: i64) -> usize {
    let existed = |(_, history): &&(Bytes, History)| history.at(revision).is_some();
    keys.iter().filter(existed).count()
}

fn is_live(history: &History) -> bool {
    !history.latest().is_tombstone()
}
