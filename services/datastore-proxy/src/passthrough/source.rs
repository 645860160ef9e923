//! The etcd as a source of watches.

use super::Backend;
use super::past::EtcdPast;
use crate::domain::range::KeyRange;
use crate::domain::version::Row;
use crate::watch::hub::Hub;
use crate::watch::source::Source;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb::ResponseHeader;
use std::future::Future;
use std::time::Duration;
use tonic::Status;

impl Source for Backend {
    type Past = EtcdPast;

    // Who lags holds a stream of the etcd.
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

    fn hub(&self) -> &Hub {
        Self::hub(self)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        Self::header(self, revision)
    }

    fn compacted(&self) -> i64 {
        Self::compacted(self)
    }

    async fn newest(&self) -> Result<i64, Status> {
        self.newest_of_etcd().await
    }

    fn fresh(&self) -> impl Future<Output = ()> + Send + 'static {
        self.feed().fresh()
    }

    async fn lost(&self) -> Status {
        self.feed().lost().await;
        Status::unavailable(
            "etcd is out of reach from here: watch again, at another replica if there is one",
        )
    }

    fn past(&self, range: &KeyRange, from: i64) -> EtcdPast {
        EtcdPast::new(self.clone(), range.clone(), from)
    }

    async fn values(&self, rows: &[Row]) -> Result<Vec<Option<Bytes>>, Status> {
        // Every change of etcd comes with its values.
        Ok(vec![None; rows.len()])
    }

    fn measure(&self) {
        let (watches, lagging) = self.hub().len();
        self.metrics().datastore.watchers(watches, lagging);
    }
}
