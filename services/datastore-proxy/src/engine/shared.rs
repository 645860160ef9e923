//! What the writer and everybody else share.

use super::cache::Cache;
use super::clock::Clock;
use super::late::Late;
use crate::domain::range::KeyRange;
use crate::domain::state::{Changes, State};
use crate::domain::version::Row;
use crate::metrics::Metrics;
use crate::store::{Keys, Loaded, Reader, Size, StoreError};
use crate::watch::committed::Committed;
use crate::watch::hub::Hub;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Values kept in memory.
const CACHE_BYTES: usize = 24 << 20;

/// The state, the watches and the ways to values.
pub struct Shared {
    state: RwLock<State>,
    late: Late,
    size: Mutex<Size>,
    full: AtomicBool,
    pub(super) cache: Cache,
    pub(super) reader: Arc<dyn Reader>,
    /// All watches.
    pub hub: Hub,
    /// What is measured.
    pub metrics: Metrics,
    /// Time.
    pub clock: Clock,
    /// Names the store.
    pub cluster_id: u64,
    /// Names its only member.
    pub member_id: u64,
}

impl Shared {
    pub(super) fn new(
        loaded: Loaded,
        keys: Option<Arc<dyn Keys>>,
        reader: Arc<dyn Reader>,
        metrics: Metrics,
    ) -> Self {
        let Loaded {
            mut state,
            cluster_id,
            member_id,
        } = loaded;
        let clock = Clock::new();
        state.leases.clamp(clock.now());
        Self {
            hub: Hub::new(state.revision),
            state: RwLock::new(state),
            late: Late::new(keys),
            size: Mutex::default(),
            full: AtomicBool::new(false),
            cache: Cache::new(CACHE_BYTES),
            reader,
            metrics,
            clock,
            cluster_id,
            member_id,
        }
    }

    /// The state, for a moment: the writer waits until the guard is gone.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where keys are read while they aren't all in the state.
    pub(super) fn late(&self) -> Option<Arc<dyn Keys>> {
        self.late.keys()
    }

    /// Resolves once all keys, and what lives under which lease, are in the state.
    pub async fn keys_loaded(&self) {
        self.late.ended().await;
    }

    /// Loads the keys that the store was opened without. Nothing may be written before.
    pub(super) fn load_keys(&self) -> Result<(), StoreError> {
        let Some(keys) = self.late() else {
            return Ok(());
        };
        let mut state = self.state().clone();
        keys.load(&KeyRange::all(), &mut state)?;
        *self.state_mut() = state;
        self.late.end();
        Ok(())
    }

    /// How large the store is.
    pub fn size(&self) -> Size {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_size(&self, size: Size) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
        self.metrics.size(size);
    }

    /// Whether the last write found no space.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Makes a committed batch visible. Readers and watches see each of its revisions at the same moment.
    pub(super) fn publish(&self, batch: &[Changes]) {
        let revisions: Vec<Committed> = batch
            .iter()
            .filter_map(|changes| Committed::of(&changes.writes, |row| self.cache.get_one(row)))
            .collect();
        let writes = || batch.iter().flat_map(|changes| &changes.writes);
        let new: Vec<(Row, Bytes)> = writes()
            .filter(|write| !write.version.is_tombstone())
            .map(|write| (write.version.row, write.value.clone()))
            .collect();
        self.cache.insert(new);
        let mut state = self.state_mut();
        batch.iter().for_each(|changes| state.apply(changes));
        self.hub.publish(revisions);
        let revision = state.revision;
        drop(state);
        self.cache
            .remove(writes().filter_map(|write| Some(write.previous?.row)));
        self.metrics.published(revision, self.hub.len());
    }
}
