//! Locks.

use super::queue::{Queue, Store};
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{Delete, Op, Query, Txn};
use crate::watch::source::Source;
use bytes::Bytes;
use sextant_proto::etcd::v3lockpb as pb;
use tonic::{Request, Response, Status};

pub(crate) struct Locks<S>(pub(crate) S);

#[tonic::async_trait]
impl<S: Store> pb::lock_server::Lock for Locks<S> {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let pb::LockRequest { name, lease } = request.into_inner();
        let queue = Queue::new(self.0.clone(), caller, &name);
        let place = queue.enter(lease, Bytes::new()).await?;
        queue.wait(&place).await?;
        // The lease may have ended while it was waited.
        let own = Query::new(KeyRange::key(place.key.clone()));
        let answer = queue.read(&own).await?;
        if answer.kvs.is_empty() {
            return Err(Fault::SessionExpired.into());
        }
        Ok(Response::new(pb::LockResponse {
            header: Some(self.0.source().header(answer.revision)),
            key: place.key,
        }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(Fault::EmptyKey.into());
        }
        let queue = Queue::new(self.0.clone(), caller, &[]);
        let delete = Op::Delete(Delete {
            range: KeyRange::key(key),
            prev_kv: false,
        });
        let answer = queue.run(Txn::of(delete)).await?;
        let header = Some(self.0.source().header(answer.revision));
        Ok(Response::new(pb::UnlockResponse { header }))
    }
}
