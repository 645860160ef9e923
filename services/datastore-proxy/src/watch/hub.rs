//! All watches. A change wakes only those that it concerns.
//!
//! A watch is in step, and then the hub queues what it is to hear, or it lags, and then its stream reads the log
//! until it is in step again. The hub's lock orders both: nothing is said twice or left out.

use super::committed::{Change, Committed};
use super::outbox::{Out, Outbox};
use super::ring::Ring;
use crate::domain::interval::IntervalSet;
use crate::domain::range::KeyRange;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A watch that lags gets at most about so much at a time.
const STEP_BYTES: usize = 1 << 20;

/// What a watch wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its number in its stream.
    pub id: i64,
    /// Of which keys.
    pub range: KeyRange,
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
    /// Also what was there before.
    pub prev_kv: bool,
    /// Large answers in pieces.
    pub fragment: bool,
}

impl Spec {
    /// Whether it wants to hear of a change.
    pub fn wants(&self, change: &Change) -> bool {
        let filtered = if change.deleted {
            self.no_delete
        } else {
            self.no_put
        };
        !filtered && self.range.contains(&change.kv.key)
    }
}

#[derive(Debug)]
struct Watch {
    spec: Arc<Spec>,
    outbox: Arc<Outbox>,
    /// The first revision that wasn't queued for it, or sent.
    next: i64,
    in_step: bool,
}

/// What a watch that lags has to do.
#[derive(Debug)]
pub enum CatchUp {
    /// Nothing: it is gone, or in step.
    Nothing,
    /// Read the log for these revisions, then call [`Hub::advance`].
    Read {
        /// What it wants.
        spec: Arc<Spec>,
        /// The first revision.
        from: i64,
        /// The last one.
        through: i64,
    },
    /// Send this.
    Send {
        /// What it wants.
        spec: Arc<Spec>,
        /// The first revision.
        from: i64,
        /// Revisions and which of their changes.
        revisions: Vec<(Arc<Committed>, Vec<usize>)>,
        /// Everything up to this revision is in it.
        through: i64,
    },
}

/// All watches.
#[derive(Debug)]
pub struct Hub(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    revision: i64,
    ring: Ring,
    intervals: IntervalSet,
    watches: HashMap<u64, Watch>,
    next_key: u64,
    lagging: usize,
}

impl Hub {
    /// A hub for a store at `revision`.
    pub fn new(revision: i64) -> Self {
        Self(Mutex::new(Inner {
            revision,
            ring: Ring::new(revision + 1),
            intervals: IntervalSet::default(),
            watches: HashMap::new(),
            next_key: 0,
            lagging: 0,
        }))
    }

    /// Tells everybody concerned of new revisions. Called in their order.
    pub fn publish(&self, revisions: impl IntoIterator<Item = Committed>) {
        let mut inner = self.lock();
        for committed in revisions {
            inner.publish(&Arc::new(committed));
        }
    }

    /// Records that nothing has happened up to `revision` that wasn't published.
    pub fn reached(&self, revision: i64) {
        let mut inner = self.lock();
        inner.revision = inner.revision.max(revision);
    }

    /// Goes on after `revision` although not everything before was published: every watch reads for itself, and finds
    /// out whether it missed something.
    pub fn reset(&self, revision: i64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let told = std::mem::replace(&mut inner.revision, revision);
        inner.ring = Ring::new(revision + 1);
        for (key, watch) in &mut inner.watches {
            if watch.in_step && watch.next <= revision {
                // In step means that nothing up to then was left out.
                watch.next = watch.next.max(told + 1);
                watch.in_step = false;
                inner.lagging += 1;
                watch.outbox.lag(*key);
            }
        }
    }

    /// Makes a watch that starts at revision `start`, or with what comes next if that is 0. Returns its number
    /// here.
    pub fn add(&self, outbox: &Arc<Outbox>, spec: Spec, start: i64) -> u64 {
        self.add_after(outbox, spec, start, 0)
    }

    /// [`add`](Self::add) where revisions up to `newest` are there already, published or not.
    pub fn add_after(&self, outbox: &Arc<Outbox>, spec: Spec, start: i64, newest: i64) -> u64 {
        let mut inner = self.lock();
        let key = inner.next_key;
        inner.next_key += 1;
        let revision = inner.revision.max(newest);
        outbox.push(Out::Created {
            id: spec.id,
            revision,
        });
        let next = if start == 0 { revision + 1 } else { start };
        let in_step = next > inner.revision;
        if !in_step {
            inner.lagging += 1;
            outbox.lag(key);
        }
        inner.intervals.insert(spec.range.clone(), key);
        let outbox = Arc::clone(outbox);
        inner.watches.insert(
            key,
            Watch {
                spec: Arc::new(spec),
                outbox,
                next,
                in_step,
            },
        );
        key
    }

    /// Ends a watch, and queues the answer to its client if there should be one.
    pub fn remove(&self, key: u64, answer: bool) {
        let mut inner = self.lock();
        let Some(watch) = inner.watches.remove(&key) else {
            return;
        };
        inner.intervals.remove(&watch.spec.range, key);
        inner.lagging -= usize::from(!watch.in_step);
        if answer {
            watch.outbox.push(Out::Canceled {
                id: watch.spec.id,
                revision: inner.revision,
            });
        }
    }

    /// What a watch that lags is to do next.
    pub fn catch_up(&self, key: u64) -> CatchUp {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(watch) = inner.watches.get_mut(&key).filter(|watch| !watch.in_step) else {
            return CatchUp::Nothing;
        };
        let spec = Arc::clone(&watch.spec);
        let Some(recent) = inner.ring.since(watch.next) else {
            return CatchUp::Read {
                spec,
                from: watch.next,
                through: inner.revision,
            };
        };
        let from = watch.next;
        let mut revisions = Vec::new();
        let mut bytes = 0;
        let mut through = inner.revision.max(from - 1);
        for committed in recent {
            let picked = pick(&spec, committed);
            if !picked.is_empty() {
                bytes += committed.size();
                revisions.push((Arc::clone(committed), picked));
            }
            if bytes > STEP_BYTES {
                through = committed.revision;
                break;
            }
        }
        watch.next = through + 1;
        inner.settle(key);
        CatchUp::Send {
            spec,
            from,
            revisions,
            through,
        }
    }

    /// Records that a watch that lags has heard everything up to `through`; `true` if it is in step now.
    pub fn advance(&self, key: u64, through: i64) -> bool {
        let mut inner = self.lock();
        if let Some(watch) = inner.watches.get_mut(&key) {
            watch.next = watch.next.max(through + 1);
            inner.settle(key);
        }
        inner.watches.get(&key).is_none_or(|watch| watch.in_step)
    }

    /// Queues a report of progress if all of `keys`, which share `outbox`, have been told everything; `false` if
    /// some of them lag.
    pub fn progress(&self, outbox: &Outbox, keys: impl Iterator<Item = u64>, id: i64) -> bool {
        let inner = self.lock();
        let mut any = false;
        for watch in keys.filter_map(|key| inner.watches.get(&key)) {
            if !watch.in_step {
                return false;
            }
            // A watch of the future has nothing to report yet.
            if watch.next > inner.revision + 1 {
                return true;
            }
            any = true;
        }
        if any {
            outbox.push(Out::Progress {
                id,
                revision: inner.revision,
            });
        }
        true
    }

    /// The newest revision that was published.
    pub fn revision(&self) -> i64 {
        self.lock().revision
    }

    /// How many watches there are, and how many of them lag.
    pub fn len(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.watches.len(), inner.lagging)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn publish(&mut self, committed: &Arc<Committed>) {
        // A source that had to begin again may repeat itself.
        if committed.revision <= self.revision {
            return;
        }
        self.revision = committed.revision;
        self.ring.push(Arc::clone(committed));
        let mut concerned: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, change) in committed.changes.iter().enumerate() {
            self.intervals.visit(&change.kv.key, &mut |key| {
                concerned.entry(key).or_default().push(at);
            });
        }
        for (key, picked) in concerned {
            self.tell(key, committed, picked);
        }
    }

    fn tell(&mut self, key: u64, committed: &Arc<Committed>, mut picked: Vec<usize>) {
        let Some(watch) = self.watches.get_mut(&key) else {
            return;
        };
        if !watch.in_step || committed.revision < watch.next {
            return;
        }
        picked.retain(|at| {
            committed
                .changes
                .get(*at)
                .is_some_and(|c| watch.spec.wants(c))
        });
        if picked.is_empty() {
            return;
        }
        watch.next = committed.revision;
        if watch
            .outbox
            .push_events(key, &watch.spec, committed, picked)
        {
            watch.next += 1;
        } else {
            watch.in_step = false;
            self.lagging += 1;
        }
    }

    /// Decides whether a watch that moved on is in step now, or has to go on reading.
    fn settle(&mut self, key: u64) {
        let Some(watch) = self.watches.get_mut(&key).filter(|watch| !watch.in_step) else {
            return;
        };
        if watch.next > self.revision {
            watch.in_step = true;
            self.lagging -= 1;
        } else {
            watch.outbox.lag(key);
        }
    }
}

fn pick(spec: &Spec, committed: &Committed) -> Vec<usize> {
    let wanted = committed
        .changes
        .iter()
        .enumerate()
        .filter(|(_, change)| spec.wants(change));
    wanted.map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests;
