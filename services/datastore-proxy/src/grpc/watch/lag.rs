//! Watches that can't follow: they read from the log what they missed, until they are in step again.

use super::Stream;
use crate::watch::committed::Change;
use crate::watch::hub::{CatchUp, Spec};
use crate::watch::source::{Past, PastError, Source};
use tonic::Status;

impl<S: Source> Stream<S> {
    /// One step of a watch that lags.
    pub(super) async fn catch_up(&mut self, key: u64) -> Result<(), Status> {
        match self.source.hub().catch_up(key) {
            CatchUp::Nothing => {}
            CatchUp::Send {
                spec,
                from,
                revisions,
                through,
            } => {
                if self.cancel_if_compacted(&spec, key, from).await? {
                    return Ok(());
                }
                if let Some(open) = self.watches.get_mut(&spec.id) {
                    open.past = None;
                }
                if !revisions.is_empty() {
                    self.send_events(&spec, &revisions, through).await?;
                }
            }
            CatchUp::Read {
                spec,
                from,
                through,
            } => {
                self.read(&spec, key, from, through).await?;
            }
        }
        if self.progress_wanted {
            self.report_all();
        }
        self.source.measure();
        Ok(())
    }

    async fn read(&mut self, spec: &Spec, key: u64, from: i64, through: i64) -> Result<(), Status> {
        let Some(open) = self.watches.get_mut(&spec.id) else {
            return Ok(());
        };
        let past = open.past.take().filter(|(next, _)| *next == from);
        let mut past = past.map_or_else(|| self.source.past(&spec.range, from), |(_, past)| past);
        let piece = match past.next(through).await {
            Ok(piece) => piece,
            Err(PastError::Compacted(compacted)) => return self.cancel(spec, key, compacted).await,
            Err(PastError::Failed(status)) => return Err(status),
        };
        // Looked at after reading: before, rows could still have gone missing.
        if self.cancel_if_compacted(spec, key, from).await? {
            return Ok(());
        }
        let changes: Vec<&Change> = piece
            .changes
            .iter()
            .filter(|change| spec.wants(change))
            .collect();
        if !changes.is_empty() {
            self.answers.events(spec, &changes, piece.through).await?;
        }
        let is_in_step = self.source.hub().advance(key, piece.through);
        if let Some(open) = self.watches.get_mut(&spec.id) {
            open.active |= !changes.is_empty();
            open.past = (!is_in_step).then_some((piece.through + 1, past));
        }
        Ok(())
    }

    /// Ends a watch that would have to read what is forgotten.
    async fn cancel_if_compacted(
        &mut self,
        spec: &Spec,
        key: u64,
        from: i64,
    ) -> Result<bool, Status> {
        let compacted = self.source.compacted();
        if from >= compacted {
            return Ok(false);
        }
        self.cancel(spec, key, compacted).await?;
        Ok(true)
    }

    async fn cancel(&mut self, spec: &Spec, key: u64, compacted: i64) -> Result<(), Status> {
        self.watches.remove(&spec.id);
        let hub = self.source.hub();
        hub.remove(key, false);
        self.source.measure();
        self.answers
            .compacted(spec.id, hub.revision(), compacted)
            .await
    }
}
