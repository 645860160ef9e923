//! A watch for this process itself: locks and elections wait for what becomes of keys.

use super::committed::{Change, Committed};
use super::hub::{CatchUp, Spec};
use super::outbox::{Out, Outbox};
use super::source::{Past, PastError, Source};
use crate::domain::range::KeyRange;
use std::sync::Arc;

/// Follows one range. Ends when dropped.
pub struct Follower<S: Source> {
    source: S,
    outbox: Arc<Outbox>,
    key: u64,
    /// What reads the past, and from which revision on.
    past: Option<(i64, S::Past)>,
}

impl<S: Source> Drop for Follower<S> {
    fn drop(&mut self) {
        self.source.hub().remove(self.key, false);
    }
}

impl<S: Source> Follower<S> {
    /// Follows `range` from revision `from` on.
    pub fn new(source: S, range: KeyRange, from: i64) -> Self {
        let outbox = Arc::new(Outbox::default());
        let spec = Spec {
            id: 0,
            range,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            fragment: false,
        };
        let key = source.hub().add(&outbox, spec, from);
        Self {
            source,
            outbox,
            key,
            past: None,
        }
    }

    /// Waits for the next changes, in order; never none. Fails if they were compacted before they were read.
    pub async fn next(&mut self) -> Result<Vec<Change>, PastError> {
        loop {
            let changes = match self.outbox.pop() {
                Some(Out::Events {
                    committed, picked, ..
                }) => picked_of(&committed, &picked),
                Some(_) => Vec::new(),
                None => match self.outbox.next_lagging() {
                    Some(_) => self.catch_up().await?,
                    None => {
                        tokio::select! {
                            () = self.outbox.changed() => {}
                            lost = self.source.lost() => return Err(PastError::Failed(lost)),
                        }
                        Vec::new()
                    }
                },
            };
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    async fn catch_up(&mut self) -> Result<Vec<Change>, PastError> {
        match self.source.hub().catch_up(self.key) {
            CatchUp::Nothing => Ok(Vec::new()),
            CatchUp::Send {
                from, revisions, ..
            } => {
                self.check(from)?;
                let changes = revisions
                    .iter()
                    .flat_map(|(committed, picked)| picked_of(committed, picked));
                Ok(changes.collect())
            }
            CatchUp::Read {
                spec,
                from,
                through,
            } => {
                let mut past = match self.past.take() {
                    Some((at, past)) if at == from => past,
                    _ => self.source.past(&spec.range, from),
                };
                let piece = past.next(through).await?;
                // Looked at after reading: before, rows could still have gone missing.
                self.check(from)?;
                self.source.hub().advance(self.key, piece.through);
                self.past = Some((piece.through + 1, past));
                Ok(piece.changes)
            }
        }
    }

    fn check(&self, from: i64) -> Result<(), PastError> {
        let compacted = self.source.compacted();
        if from < compacted {
            return Err(PastError::Compacted(compacted));
        }
        Ok(())
    }
}

fn picked_of(committed: &Committed, picked: &[usize]) -> Vec<Change> {
    let changes = picked.iter().filter_map(|at| committed.changes.get(*at));
    changes.cloned().collect()
}
