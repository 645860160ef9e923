//! The etcd as what queues are kept in. Its own Lock and Election services know no planes and no owners of leases.

use super::{Serving, lease};
use crate::domain::authz::{Call, Caller};
use crate::domain::request::{Query, RangeAnswer, Txn, TxnAnswer};
use crate::grpc::pieces::Ranges;
use crate::grpc::queue::Store;
use crate::passthrough::Backend;
use crate::replica::wire;
use sextant_kit::Drain;
use sextant_proto::etcd::etcdserverpb as pb;
use tonic::{Request, Status};

#[tonic::async_trait]
impl Store for Serving {
    type Source = Backend;

    fn source(&self) -> &Backend {
        &self.backend
    }

    fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status> {
        Self::caller(self, request, call)
    }

    fn drain(&self) -> &Drain {
        &self.drain
    }

    async fn read(&self, query: &Query) -> Result<RangeAnswer, Status> {
        self.backend.check_compacted(query.revision)?;
        Ranges::range(&self.backend, query, false).await
    }

    async fn run(&self, txn: Txn, caller: &Caller) -> Result<TxnAnswer, Status> {
        let answer = self.backend.txn(txn, caller).await?;
        Ok(wire::txn_answer(answer))
    }

    async fn grant(&self, seconds: i64, caller: &Caller) -> Result<i64, Status> {
        let request = pb::LeaseGrantRequest {
            id: 0,
            ttl: seconds,
        };
        Ok(lease::grant(&self.backend, request, caller).await?.id)
    }

    async fn renew(&self, lease: i64, caller: &Caller) -> Result<(), Status> {
        // One that isn't there is answered with no time.
        lease::renew(&self.backend, lease, caller).await.map(drop)
    }
}
