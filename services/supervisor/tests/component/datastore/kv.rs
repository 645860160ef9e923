//! Reading and writing.

use super::{Answers, Store};
use sextant_proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseOp, TxnRequest,
    TxnResponse, compare::TargetUnion, kv_server::Kv, request_op, response_op,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Kv for Store {
    type RangeStreamStream = Answers<RangeStreamResponse>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.check()?;
        Ok(Response::new(
            self.db.lock().unwrap().range(request.get_ref()),
        ))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            if request.lease != 0 && !db.leases.contains_key(&request.lease) {
                return Err(Status::not_found("etcdserver: requested lease not found"));
            }
            db.revision += 1;
            db.put(request);
            Ok(Response::new(PutResponse {
                header: db.header(),
                prev_kv: None,
            }))
        })
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            let range = RangeRequest {
                key: request.key,
                range_end: request.range_end,
                ..RangeRequest::default()
            };
            let keys: Vec<_> = db.range(&range).kvs.into_iter().map(|kv| kv.key).collect();
            let deleted = keys.len() as i64;
            db.revision += 1;
            db.delete(keys);
            Ok(Response::new(DeleteRangeResponse {
                header: db.header(),
                deleted,
                prev_kvs: vec![],
            }))
        })
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            let succeeded = request.compare.iter().all(|compare| {
                let Some(TargetUnion::ModRevision(wanted)) = compare.target_union else {
                    panic!("only mod_revision is compared");
                };
                db.keys.get(&compare.key).map_or(0, |kv| kv.mod_revision) == wanted
            });
            let ops = if succeeded {
                request.success
            } else {
                request.failure
            };
            let mut responses = Vec::new();
            for op in ops {
                let response = match op.request.unwrap() {
                    request_op::Request::RequestRange(range) => {
                        response_op::Response::ResponseRange(db.range(&range))
                    }
                    request_op::Request::RequestPut(put) => {
                        db.revision += 1;
                        db.put(put);
                        response_op::Response::ResponsePut(PutResponse::default())
                    }
                    other => panic!("not used: {other:?}"),
                };
                responses.push(ResponseOp {
                    response: Some(response),
                });
            }
            Ok(Response::new(TxnResponse {
                header: db.header(),
                succeeded,
                responses,
            }))
        })
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }
}
