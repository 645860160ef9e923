//! Reading and writing keys.

use super::pieces::{self, Ranges};
use super::{MAX_REQUEST, Services, convert};
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::domain::request::{Answer, Op, Query, RangeAnswer, Txn, TxnAnswer};
use crate::engine::{Reply, Request as Work};
use prost::Message;
use sextant_proto::etcd::etcdserverpb as pb;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// A physical compaction may take so long.
const COMPACTION_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) struct Kv(pub(super) Services);

impl Services {
    /// The header of an answer at `revision`.
    pub(super) fn header(&self, revision: i64) -> pb::ResponseHeader {
        let shared = self.engine.shared();
        pb::ResponseHeader {
            cluster_id: shared.cluster_id,
            member_id: shared.member_id,
            revision,
            raft_term: self.engine.term().0,
        }
    }
}

impl Ranges for Services {
    async fn range(&self, query: &Query, count: bool) -> Result<RangeAnswer, Status> {
        Ok(self.engine.range(query, count).await?)
    }

    fn header(&self, revision: i64) -> pb::ResponseHeader {
        Self::header(self, revision)
    }
}

/// Refuses what etcd refuses for its size.
pub(crate) fn check_size(message: &impl Message) -> Result<(), Fault> {
    if message.encoded_len() > MAX_REQUEST {
        Err(Fault::RequestTooLarge)
    } else {
        Ok(())
    }
}

impl Kv {
    async fn run(
        &self,
        mut txn: Txn,
        caller: crate::domain::authz::Caller,
    ) -> Result<TxnAnswer, Fault> {
        caller.clip_txn(&mut txn)?;
        if txn.is_read_only() && txn.compares.is_empty() {
            let _turn = self.0.reads.turn(&caller).await?;
            self.0.engine.confirm().await?;
            return self.read(&txn).await;
        }
        match self.0.engine.submit(Work::Txn(txn), caller).await? {
            Reply::Txn(answer) => Ok(answer),
            _ => Err(Fault::Stopped),
        }
    }

    /// A transaction that only reads needs no writer, if all its reads are of one revision.
    async fn read(&self, txn: &Txn) -> Result<TxnAnswer, Fault> {
        loop {
            let revision = self.0.engine.shared().state().revision;
            match self.read_at(txn, revision).await {
                // A compaction has overtaken it: there is a newer revision to read.
                Err(Fault::Compacted) if self.0.engine.shared().state().compacted > revision => {}
                answer => return answer,
            }
        }
    }

    async fn read_at(&self, txn: &Txn, revision: i64) -> Result<TxnAnswer, Fault> {
        let mut answers = Vec::with_capacity(txn.success.len());
        for op in &txn.success {
            let Op::Range(query) = op else { continue };
            let mut query = query.clone();
            if query.revision <= 0 {
                query.revision = revision;
            } else if query.revision > revision {
                return Err(Fault::FutureRevision);
            }
            let mut answer = self.0.engine.range(&query, true).await?;
            answer.revision = revision;
            answers.push(Answer::Range(answer));
        }
        Ok(TxnAnswer {
            revision,
            succeeded: true,
            answers,
        })
    }
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
        let mut query = convert::query(request)?;
        query.range = caller.clip(&query.range)?;
        let _timed = self
            .0
            .slow
            .time("Range", &caller, Some(query.range.clone()));
        let _turn = self.0.reads.turn(&caller).await?;
        if !serializable {
            self.0.engine.confirm().await?;
        }
        let answer = self.0.engine.range(&query, true).await?;
        Ok(Response::new(convert::range_response(
            answer,
            &|revision| self.0.header(revision),
        )))
    }

    type RangeStreamStream = ReceiverStream<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let mut query = convert::query(request)?;
        query.range = caller.clip(&query.range)?;
        pieces::check(&query)?;
        if !serializable {
            self.0.engine.confirm().await?;
        }
        Ok(Response::new(pieces::stream(self.0.clone(), query)))
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
        let _timed = self.0.slow.time("Put", &caller, Some(keys));
        let txn = Txn::of(Op::Put(put));
        let answer = self.run(txn, caller).await?;
        let header = Some(self.0.header(answer.revision));
        match answer.answers.into_iter().next() {
            Some(Answer::Put { prev_kv, .. }) => {
                Ok(Response::new(pb::PutResponse { header, prev_kv }))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        check_size(&request)?;
        let delete = convert::delete(request)?;
        let keys = Some(delete.range.clone());
        let _timed = self.0.slow.time("DeleteRange", &caller, keys);
        let txn = Txn::of(Op::Delete(delete));
        let answer = self.run(txn, caller).await?;
        let header = Some(self.0.header(answer.revision));
        match answer.answers.into_iter().next() {
            Some(Answer::Delete {
                deleted, prev_kvs, ..
            }) => Ok(Response::new(pb::DeleteRangeResponse {
                header,
                deleted,
                prev_kvs,
            })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        check_size(&request)?;
        let txn = convert::txn(request)?;
        let _timed = self.0.slow.time("Txn", &caller, txn.first_keys());
        let answer = self.run(txn, caller).await?;
        Ok(Response::new(convert::txn_response(answer, &|revision| {
            self.0.header(revision)
        })))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let caller = self.0.caller(&request, Call::Compact)?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let work = Work::Compact { revision, physical };
        match self
            .0
            .engine
            .submit_within(work, caller, COMPACTION_TIMEOUT)
            .await?
        {
            Reply::Done { revision } => {
                let header = Some(self.0.header(revision));
                Ok(Response::new(pb::CompactionResponse { header }))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }
}
