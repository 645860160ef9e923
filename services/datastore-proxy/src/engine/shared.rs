//! What the writer and everybody else share.

use super::cache::Cache;
use super::clock::Clock;
use super::late::Late;
use crate::domain::alarm::Alarm;
use crate::domain::range::KeyRange;
use crate::domain::state::{Changes, State, Write};
use crate::domain::version::Row;
use crate::metrics::Metrics;
use crate::store::{Keys, Loaded, Reader, Size, StoreError};
use crate::watch::committed::Committed;
use crate::watch::hub::Hub;
use bytes::Bytes;
use sextant_proto::datastore as pb;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{broadcast, watch};

/// Values kept in memory.
const CACHE_BYTES: usize = 64 << 20;
/// Commits that a following replica may be behind before it has to read them from the database.
const FOLLOW_COMMITS: usize = 64;
/// A larger commit isn't sent to followers: they read it from the database.
const FOLLOW_BYTES: usize = 1 << 20;

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
    /// The newest revision that readers see.
    visible: watch::Sender<i64>,
    /// For the replicas that follow this one.
    followers: broadcast::Sender<Arc<pb::FollowResponse>>,
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
    pub(crate) fn new(
        loaded: Loaded,
        keys: Option<Arc<dyn Keys>>,
        reader: Arc<dyn Reader>,
        metrics: Metrics,
    ) -> Self {
        let Loaded {
            mut state,
            cluster_id,
            member_id,
            now,
        } = loaded;
        let clock = now.map_or_else(Clock::new, Clock::at);
        state.leases.clamp(clock.now());
        Self {
            hub: Hub::new(state.revision),
            visible: watch::Sender::new(state.revision),
            followers: broadcast::Sender::new(FOLLOW_COMMITS),
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

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
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

    pub(crate) fn set_size(&self, size: Size) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
        self.metrics.size(size);
    }

    /// Adds to the size what isn't measured yet.
    pub(super) fn grow(&self, bytes: u64) {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        size.total += bytes;
        size.in_use += bytes;
    }

    /// Whether the last write found no space.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
        if full {
            self.metrics.no_space(true);
        }
    }

    /// Makes a committed batch visible. Readers and watches see each of its revisions at the same moment.
    pub(crate) fn publish(&self, batch: &[Changes]) {
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
        self.metrics.published(revision, self.hub.len());
        self.metrics.compacted(state.compacted);
        self.metrics
            .no_space(self.is_full() || state.alarms.has(Alarm::NoSpace));
        drop(state);
        self.cache
            .remove(writes().filter_map(|write| Some(write.previous?.row)));
        self.visible.send_replace(revision);
        if self.followers.receiver_count() > 0 {
            // Without receivers nobody needs it.
            let _ = self.followers.send(Arc::new(self.report(batch)));
        }
    }

    /// Goes on with another state, newer than this one by a part of the log that isn't known here.
    pub(crate) fn replace(&self, state: State) {
        let revision = state.revision;
        let mut current = self.state_mut();
        *current = state;
        self.hub.reset(revision);
        drop(current);
        self.visible.send_replace(revision);
    }

    /// The newest revision that readers see, followed.
    pub fn visible(&self) -> watch::Receiver<i64> {
        self.visible.subscribe()
    }

    /// What is published from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<pb::FollowResponse>> {
        self.followers.subscribe()
    }

    fn report(&self, batch: &[Changes]) -> pb::FollowResponse {
        let writes = || batch.iter().flat_map(|changes| &changes.writes);
        let compactions = batch.iter().filter_map(|changes| changes.compacted);
        let size: usize = writes().map(|w| w.key.len() + w.value.len()).sum();
        let first = writes().next().map(|write| write.version.row);
        let (first_row, writes) = match first {
            Some(first) if size <= FOLLOW_BYTES => (first, writes().map(report_write).collect()),
            _ => (self.state().next_row, Vec::new()),
        };
        pb::FollowResponse {
            first_row,
            writes,
            compacted: compactions.max().unwrap_or_default(),
        }
    }
}

fn report_write(write: &Write) -> pb::Write {
    let version = &write.version;
    pb::Write {
        key: write.key.clone(),
        value: write.value.clone(),
        mod_revision: version.mod_revision,
        create_revision: version.create_revision,
        version: version.version,
        lease: version.lease,
    }
}
