//! A real etcd as the backend. Requests are checked and cut as for the other backends, their keys are put under the
//! prefix of this control plane, and etcd does the rest. All watches of all clients share one watch of the etcd;
//! those that start in the past have one of their own until they have caught up.

pub mod address;
pub mod batch;
mod feed;
mod grpc;
mod leases;
mod metrics;
mod past;
pub mod plane;
mod planes;
pub mod records;
pub mod request;
mod source;
mod upstream;

pub use grpc::{Serving, routes};
pub use upstream::EtcdConfig;

use crate::error::Error;
use crate::watch::hub::Hub;
use address::Address;
use bytes::Bytes;
use feed::State;
use leases::Owners;
use metrics::Metrics;
use plane::Plane;
use sextant_kit::backoff::{Backoff, retry};
use sextant_kit::{Context, Task};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::kv_client::KvClient;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;
use upstream::{Channel, Kind, Pool};

/// An etcd that is reached. Cheap to clone.
#[derive(Clone)]
pub struct Backend(Arc<Inner>);

struct Inner {
    pool: Pool,
    plane: Plane,
    hub: Hub,
    feed: State,
    /// Reads of this plane from before are refused.
    compacted: AtomicI64,
    owners: Owners,
    /// What etcd calls itself.
    header: Mutex<pb::ResponseHeader>,
    metrics: Metrics,
}

impl Backend {
    /// Waits for the etcd, makes the plane known there and follows it. `None` once drained.
    pub async fn start(
        address: &Address,
        config: EtcdConfig,
        ctx: &Context,
        ready: &Task,
    ) -> Result<Option<Self>, Error> {
        let metrics = Metrics::new(&ctx.metrics);
        let pool = Pool::new(address, config, metrics.clone())?;
        let plane = Plane::new(address.prefix.clone());
        let attempt = || planes::register(&pool, &plane);
        let registered = retry(
            "reaching etcd",
            ready,
            Backoff::default(),
            &ctx.drain,
            attempt,
        );
        let Some(registered) = registered.await else {
            return Ok(None);
        };
        let planes::Registered { header, compacted } = registered?;
        let backend = Self(Arc::new(Inner {
            pool,
            plane,
            hub: Hub::new(header.revision),
            feed: State::new(),
            compacted: AtomicI64::new(compacted),
            owners: Owners::default(),
            header: Mutex::new(header),
            metrics,
        }));
        ctx.drain.spawn(feed::run(backend.clone()));
        Ok(Some(backend))
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    fn plane(&self) -> &Plane {
        &self.0.plane
    }

    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    fn feed(&self) -> &State {
        &self.0.feed
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn compacted(&self) -> i64 {
        self.0.compacted.load(Ordering::Acquire)
    }

    fn compacted_to(&self, revision: i64) {
        self.0.compacted.fetch_max(revision, Ordering::AcqRel);
    }

    /// The header of an answer that etcd didn't make itself.
    fn header(&self, revision: i64) -> pb::ResponseHeader {
        let header = self.0.header.lock().unwrap_or_else(PoisonError::into_inner);
        pb::ResponseHeader {
            revision,
            ..*header
        }
    }

    fn saw(&self, header: Option<&pb::ResponseHeader>) {
        // Some of etcd's own answers to a watch have an empty one.
        if let Some(header) = header.filter(|header| header.member_id != 0) {
            *self.0.header.lock().unwrap_or_else(PoisonError::into_inner) = *header;
        }
    }

    fn measure_hub(&self) {
        let hub = self.hub();
        let datastore = &self.metrics().datastore;
        datastore.published(hub.revision(), hub.len());
    }

    /// The newest revision of the etcd, as a majority of its members has it.
    async fn newest_of_etcd(&self) -> Result<i64, Status> {
        let answer = read(self.pool(), nothing()).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

async fn read(pool: &Pool, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
    let call = |channel| {
        let request = upstream::demanding_leader(request.clone());
        async move { kv(channel).range(request).await }
    };
    pool.call(Kind::Read, call).await
}

async fn commit(pool: &Pool, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
    let call = |channel| {
        let request = upstream::demanding_leader(request.clone());
        async move { kv(channel).txn(request).await }
    };
    pool.call(Kind::Write, call).await
}

/// A read that finds nothing, for the revision in the header of its answer.
fn nothing() -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::from_static(records::RESERVED),
        count_only: true,
        ..pb::RangeRequest::default()
    }
}
