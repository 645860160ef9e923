//! Reading: the index says which rows, the cache or the log has their values.

use super::{Engine, Shared};
use crate::domain::fault::Fault;
use crate::domain::query;
use crate::domain::range::KeyRange;
use crate::domain::request::{Query, RangeAnswer};
use crate::domain::version::Row;
use crate::store::{Page, StoreError};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A compaction can take rows away between the look into the index and the log, but hardly so often in a row.
pub(super) const TRIES: u32 = 6;
/// Who asks for more values than this reads through the store, and should neither fill the memory nor push out
/// what others ask for again.
const SCAN: usize = 64;
/// The first pause before another try, where the compaction was another replica's.
const PAUSE: Duration = Duration::from_millis(10);

impl Engine {
    /// Reads a range as of now or of an older revision.
    pub async fn range(&self, query: &Query, count: bool) -> Result<RangeAnswer, Fault> {
        for again in 0..TRIES {
            let selection = self.shared.select(query, count).await?;
            let rows = selection.rows(query);
            let values = self.shared.values(&rows).await?;
            if let Some(values) = values.into_iter().collect::<Option<Vec<_>>>() {
                return Ok(query::finish(selection, query, values));
            }
            if self.is_replica() {
                // The replica that writes has compacted; this one is about to hear of it.
                tokio::time::sleep(PAUSE * (1 << again)).await;
            }
        }
        Err(Fault::Corrupt)
    }
}

impl Shared {
    /// The values of `rows`, `None` for those that are gone.
    pub async fn values(self: &Arc<Self>, rows: &[Row]) -> Result<Vec<Option<Bytes>>, Fault> {
        let mut values = self.cache.get(rows);
        let missing: Vec<usize> = (0..)
            .zip(&values)
            .filter(|(_, value)| value.is_none())
            .map(|(at, _)| at)
            .collect();
        if missing.is_empty() {
            return Ok(values);
        }
        let wanted: Vec<Row> = missing
            .iter()
            .filter_map(|at| rows.get(*at).copied())
            .collect();
        let found = self.blocking(move |shared| {
            let found = shared.reader.values(&wanted)?;
            if wanted.len() > SCAN {
                return Ok(found);
            }
            let new = wanted.iter().zip(&found);
            let new = new.filter_map(|(row, value)| Some((*row, value.clone()?)));
            shared.cache.insert(new);
            Ok(found)
        });
        for (at, value) in missing.into_iter().zip(found.await?) {
            if let Some(slot) = values.get_mut(at) {
                *slot = value;
            }
        }
        Ok(values)
    }

    /// A part of the log, see [`crate::store::Reader::page`].
    pub async fn page(
        self: &Arc<Self>,
        range: KeyRange,
        from: i64,
        through: i64,
        bytes: usize,
    ) -> Result<Page, Fault> {
        // What was there before each write is looked up in the state.
        self.keys_loaded().await;
        self.blocking(move |shared| shared.reader.page(&range, from, through, bytes))
            .await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let (shared, span) = (Arc::clone(self), tracing::Span::current());
        let read = move || span.in_scope(|| read(&shared));
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Fault::Stopped),
        }
    }
}
