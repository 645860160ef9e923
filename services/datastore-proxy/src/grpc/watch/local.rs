//! The engine as a source of watches.

use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::version::Row;
use crate::grpc::{MAX_MESSAGE, Services};
use crate::store::Logged;
use crate::watch::committed::{Change, Previous};
use crate::watch::hub::Hub;
use crate::watch::source::{Past, PastError, Piece, Source};
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb::ResponseHeader;
use std::future::Future;
use std::time::Duration;
use tonic::Status;

/// A part of the log that is read at once.
const PAGE_BYTES: usize = MAX_MESSAGE / 2;

impl Source for Services {
    type Past = Log;

    const PATIENCE: Option<Duration> = None;

    fn hub(&self) -> &Hub {
        &self.engine.shared().hub
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        Self::header(self, revision)
    }

    fn compacted(&self) -> i64 {
        self.engine.shared().state().compacted
    }

    async fn newest(&self) -> Result<i64, Status> {
        Ok(self.hub().revision())
    }

    fn fresh(&self) -> impl Future<Output = ()> + Send + 'static {
        let engine = self.engine.clone();
        async move {
            // While the writer can't be asked, what is here is all there is.
            let _ = engine.confirm().await;
        }
    }

    async fn lost(&self) -> Status {
        std::future::pending().await
    }

    fn past(&self, range: &KeyRange, from: i64) -> Log {
        Log {
            services: self.clone(),
            range: range.clone(),
            from,
        }
    }

    async fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, Status> {
        Ok(self.engine.shared().values(rows).await?)
    }

    fn measure(&self) {
        let shared = self.engine.shared();
        let (watches, lagging) = shared.hub.len();
        shared.metrics.watchers(watches, lagging);
    }
}

/// A place in the log.
pub struct Log {
    services: Services,
    range: KeyRange,
    from: i64,
}

impl Past for Log {
    async fn next(&mut self, through: i64) -> Result<Piece, PastError> {
        let shared = self.services.engine.shared();
        let page = shared
            .page(self.range.clone(), self.from, through, PAGE_BYTES)
            .await?;
        // Another replica may have forgotten more than this one has heard of.
        if self.from < page.compacted {
            return Err(PastError::Compacted(page.compacted));
        }
        self.from = page.through + 1;
        let state = shared.state();
        let change = |logged: Logged| {
            let revision = logged.version.mod_revision;
            let before = state.index.get(&logged.key, revision - 1);
            // As in etcd there is nothing before what creates a key.
            let before = before.filter(|_| logged.version.create_revision != revision);
            let previous = before.map(|version| Previous {
                version: *version,
                value: None,
            });
            Change::of(logged.key, &logged.version, logged.value, previous)
        };
        Ok(Piece {
            changes: page.writes.into_iter().map(change).collect(),
            through: page.through,
        })
    }
}

impl From<Fault> for PastError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}
