//! Reading and writing keys.

use super::Serving;
use super::forward::forward;
use crate::domain::authz::{Call, Caller};
use crate::domain::range::KeyRange;
use crate::domain::request::{Query, RangeAnswer, Txn};
use crate::grpc::convert;
use crate::grpc::kv::check_size;
use crate::grpc::pieces::{self, Ranges};
use crate::passthrough::request::{self, Rewrite};
use crate::passthrough::upstream::{Kind, demanding_leader};
use crate::passthrough::{Backend, commit, kv, read};
use sextant_proto::etcd::etcdserverpb as pb;
use std::collections::BTreeSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

pub(super) struct Kv(pub(super) Serving);

/// Of a request that names no leases.
static NONE: BTreeSet<i64> = BTreeSet::new();

impl Backend {
    fn rewrite<'a>(&'a self, foreign: &'a BTreeSet<i64>) -> Rewrite<'a> {
        Rewrite {
            plane: self.plane(),
            compacted: self.compacted(),
            foreign,
        }
    }

    /// Does a transaction that is cut to the caller.
    pub(super) async fn txn(&self, txn: Txn, caller: &Caller) -> Result<pb::TxnResponse, Status> {
        let foreign = self.foreign(request::leases(&txn), caller).await?;
        let request = self.rewrite(&foreign).txn(txn);
        let mut answer = commit(self.pool(), request).await?;
        self.plane().localize_txn(&mut answer);
        Ok(answer)
    }
}

impl Kv {
    /// As the etcd is asked for it, unless this plane has given it up.
    fn rewrite(&self, query: &Query) -> Result<pb::RangeRequest, Status> {
        let backend = &self.0.backend;
        backend.check_compacted(query.revision)?;
        Ok(backend.rewrite(&NONE).query(query))
    }
}

/// Checked and cut.
fn query(caller: &Caller, request: pb::RangeRequest) -> Result<Query, Status> {
    let mut query = convert::query(request)?;
    query.range = caller.clip(&query.range)?;
    Ok(query)
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Kv {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let query = query(&caller, request)?;
        let _timed = self
            .0
            .slow
            .time("Range", &caller, Some(query.range.clone()));
        let request = pb::RangeRequest {
            serializable,
            ..self.rewrite(&query)?
        };
        let backend = &self.0.backend;
        let mut answer = read(backend.pool(), request).await?;
        backend.plane().localize(&mut answer.kvs);
        Ok(Response::new(answer))
    }

    type RangeStreamStream = ReceiverStream<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let query = query(&caller, request.into_inner())?;
        pieces::check(&query)?;
        let request = self.rewrite(&query)?;
        let backend = self.0.backend.clone();
        let opened = backend.pool().open(|channel| {
            let request = demanding_leader(request.clone());
            async move { kv(channel).range_stream(request).await }
        });
        match opened.await {
            Ok((answers, permit)) => {
                let localize = move |mut piece: pb::RangeStreamResponse| {
                    if let Some(part) = &mut piece.range_response {
                        backend.plane().localize(&mut part.kvs);
                    }
                    piece
                };
                Ok(Response::new(forward(answers, permit, localize)))
            }
            // An etcd before 3.7.
            Err(status) if status.code() == Code::Unimplemented => {
                Ok(Response::new(pieces::stream(backend, query)))
            }
            Err(status) => Err(status),
        }
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        check_size(&request)?;
        let put = convert::put(request)?;
        let keys = KeyRange::key(put.key.clone());
        caller.clip(&keys)?;
        let _timed = self.0.slow.time("Put", &caller, Some(keys));
        let backend = &self.0.backend;
        let leases = put.lease.filter(|lease| *lease != 0).into_iter().collect();
        let foreign = backend.foreign(leases, &caller).await?;
        let request = backend.rewrite(&foreign).put(put);
        let call = |channel| {
            let request = demanding_leader(request.clone());
            async move { kv(channel).put(request).await }
        };
        let mut answer = backend.pool().call(Kind::Write, call).await?;
        backend.plane().localize(answer.prev_kv.as_mut_slice());
        Ok(Response::new(answer))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        check_size(&request)?;
        let mut delete = convert::delete(request)?;
        delete.range = caller.clip(&delete.range)?;
        let keys = Some(delete.range.clone());
        let _timed = self.0.slow.time("DeleteRange", &caller, keys);
        let backend = &self.0.backend;
        let request = backend.rewrite(&NONE).delete(&delete);
        let call = |channel| {
            let request = demanding_leader(request.clone());
            async move { kv(channel).delete_range(request).await }
        };
        let mut answer = backend.pool().call(Kind::Write, call).await?;
        backend.plane().localize(&mut answer.prev_kvs);
        Ok(Response::new(answer))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        check_size(&request)?;
        let mut txn = convert::txn(request)?;
        caller.clip_txn(&mut txn)?;
        let _timed = self.0.slow.time("Txn", &caller, txn.first_keys());
        let answer = self.0.backend.txn(txn, &caller).await?;
        Ok(Response::new(answer))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.0.caller(&request, Call::Compact)?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let answer = self.0.backend.compact(revision, physical).await?;
        Ok(Response::new(answer))
    }
}

impl Ranges for Backend {
    async fn range(&self, query: &Query, _count: bool) -> Result<RangeAnswer, Status> {
        let mut answer = read(self.pool(), self.rewrite(&NONE).query(query)).await?;
        self.plane().localize(&mut answer.kvs);
        let pb::RangeResponse {
            header,
            kvs,
            more,
            count,
        } = answer;
        Ok(RangeAnswer {
            revision: header.map_or(0, |header| header.revision),
            kvs,
            more,
            count,
        })
    }

    fn header(&self, revision: i64) -> pb::ResponseHeader {
        Self::header(self, revision)
    }
}
