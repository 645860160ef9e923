//! Values in memory, within a bound.

use crate::domain::version::Row;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by row. What was asked for since it was last looked at gets a second round (CLOCK).
#[derive(Debug)]
pub(super) struct Cache {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    values: HashMap<Row, Entry>,
    order: VecDeque<Row>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    used: bool,
}

/// What an entry costs beside its value.
const OVERHEAD: usize = 96;

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            inner: Mutex::default(),
        }
    }

    /// The values of `rows` that are here.
    pub(super) fn get(&self, rows: &[Row]) -> Vec<Option<Bytes>> {
        let mut inner = self.lock();
        rows.iter().map(|row| inner.get(*row)).collect()
    }

    /// The value of `row`, if it is here.
    pub(super) fn get_one(&self, row: Row) -> Option<Bytes> {
        self.lock().get(row)
    }

    /// Keeps values.
    pub(super) fn insert(&self, values: impl IntoIterator<Item = (Row, Bytes)>) {
        let mut inner = self.lock();
        for (row, value) in values {
            // One value must not push out everything else.
            if value.len() <= self.limit / 16 {
                inner.insert(row, value);
            }
        }
        while inner.bytes > self.limit && inner.turn() {}
    }

    /// Drops values that are hardly asked for any more.
    pub(super) fn remove(&self, rows: impl IntoIterator<Item = Row>) {
        let mut inner = self.lock();
        rows.into_iter().for_each(|row| inner.remove(row));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&mut self, row: Row) -> Option<Bytes> {
        let entry = self.values.get_mut(&row)?;
        entry.used = true;
        Some(entry.value.clone())
    }

    fn insert(&mut self, row: Row, value: Bytes) {
        self.bytes += value.len() + OVERHEAD;
        match self.values.insert(row, Entry { value, used: false }) {
            Some(old) => self.bytes -= old.value.len() + OVERHEAD,
            None => self.order.push_back(row),
        }
    }

    /// Looks at the oldest entry; `false` when there is none.
    fn turn(&mut self) -> bool {
        let Some(row) = self.order.pop_front() else {
            return false;
        };
        match self.values.get_mut(&row) {
            Some(entry) if entry.used => {
                entry.used = false;
                self.order.push_back(row);
            }
            Some(_) => self.remove(row),
            None => {}
        }
        true
    }

    fn remove(&mut self, row: Row) {
        if let Some(entry) = self.values.remove(&row) {
            self.bytes -= entry.value.len() + OVERHEAD;
        }
        // Removed rows leave their place in the queue; it is swept when they become too many.
        if self.order.len() > 64 + 2 * self.values.len() {
            let values = &self.values;
            self.order.retain(|row| values.contains_key(row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(size: usize) -> Bytes {
        vec![0; size].into()
    }

    #[test]
    fn keeps_within_its_bound_what_is_used() {
        let cache = Cache::new(16_000);
        cache.insert([(1, value(900))]);
        for row in 2..100 {
            assert!(cache.get_one(1).is_some(), "row {row}");
            cache.insert([(row, value(900))]);
        }
        assert!(cache.lock().bytes <= 16_000);
        assert_eq!(cache.get_one(2), None);
        cache.insert([(200, value(2_000))]);
        assert_eq!(cache.get_one(200), None);
    }

    #[test]
    fn forgets_removed_rows() {
        let cache = Cache::new(1 << 20);
        for row in 0..1000 {
            cache.insert([(row, value(10))]);
            cache.remove([row]);
        }
        let inner = cache.lock();
        assert_eq!((inner.bytes, inner.values.len()), (0, 0));
        assert!(inner.order.len() <= 65);
    }
}
