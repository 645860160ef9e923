//! Elections.

use super::queue::{Queue, Store};
use crate::domain::authz::Call;
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::watch::source::{PastError, Source};
use sextant_proto::etcd::mvccpb::KeyValue;
use sextant_proto::etcd::v3electionpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Answers on their way to one client.
const ANSWERS: usize = 8;

pub(crate) struct Elections<S>(pub(crate) S);

impl<S: Store> Elections<S> {
    fn queue<T>(&self, request: &Request<T>, name: &[u8]) -> Result<Queue<S>, Status> {
        let caller = self.0.caller(request, Call::Keys)?;
        Ok(Queue::new(self.0.clone(), caller, name))
    }
}

#[tonic::async_trait]
impl<S: Store> pb::election_server::Election for Elections<S> {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let queue = self.queue(&request, &request.get_ref().name)?;
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let place = queue.enter(lease, value.clone()).await?;
        if place.before.as_ref().is_some_and(|before| *before != value) {
            let said = queue.say(&place.key, place.revision, place.lease, value);
            said.await?.ok_or(Fault::NotLeader)?;
        }
        queue.wait(&place).await?;
        Ok(Response::new(pb::CampaignResponse {
            header: Some(self.0.source().header(place.taken_at)),
            leader: Some(pb::LeaderKey {
                name,
                key: place.key,
                rev: place.revision,
                lease: place.lease,
            }),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let queue = self.queue(&request, &[])?;
        let pb::ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or(Fault::NoLeaderKey)?;
        let said = queue.say(&leader.key, leader.rev, leader.lease, value);
        let revision = said.await?.ok_or(Fault::NotLeader)?;
        let header = Some(self.0.source().header(revision));
        Ok(Response::new(pb::ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let queue = self.queue(&request, &request.get_ref().name)?;
        match queue.first().await? {
            (None, _) => Err(Fault::NobodyElected.into()),
            (kv, revision) => Ok(Response::new(pb::LeaderResponse {
                header: Some(self.0.source().header(revision)),
                kv,
            })),
        }
    }

    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let queue = self.queue(&request, &request.get_ref().name)?;
        queue.range()?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        tokio::spawn(async move {
            let drain = queue.store.drain().clone();
            let ended = tokio::select! {
                ended = observe(&queue, &answers) => ended,
                () = answers.closed() => return,
                () = drain.signaled() => Err(Fault::Stopped.into()),
            };
            if let Err(status) = ended {
                // A client that has gone needs no answer.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let queue = self.queue(&request, &[])?;
        let leader = request.into_inner().leader.ok_or(Fault::NoLeaderKey)?;
        let revision = queue.leave(&leader.key, leader.rev).await?;
        let header = Some(self.0.source().header(revision));
        Ok(Response::new(pb::ResignResponse { header }))
    }
}

type Answers = mpsc::Sender<Result<pb::LeaderResponse, Status>>;

/// Tells of one leader after the other.
async fn observe<S: Store>(queue: &Queue<S>, answers: &Answers) -> Result<(), Status> {
    loop {
        let (leader, revision) = match queue.first().await? {
            (Some(leader), revision) => (leader, revision),
            (None, revision) => match candidate(queue, revision + 1).await {
                Ok(leader) => {
                    let revision = leader.mod_revision;
                    (leader, revision)
                }
                Err(PastError::Compacted(_)) => continue,
                Err(PastError::Failed(status)) => return Err(status),
            },
        };
        let key = leader.key.clone();
        tell(queue, answers, leader, revision).await?;
        match follow_leader(queue, answers, KeyRange::key(key), revision + 1).await {
            // What was said meanwhile is lost; who leads now is not.
            Ok(()) | Err(PastError::Compacted(_)) => {}
            Err(PastError::Failed(status)) => return Err(status),
        }
    }
}

/// Waits for somebody to stand for election.
async fn candidate<S: Store>(queue: &Queue<S>, from: i64) -> Result<KeyValue, PastError> {
    let mut follower = queue.follow(queue.range()?, from)?;
    loop {
        let changes = follower.next().await?;
        if let Some(put) = changes.into_iter().find(|change| !change.deleted) {
            return Ok(put.kv);
        }
    }
}

/// Tells what the leader says until its key is deleted.
async fn follow_leader<S: Store>(
    queue: &Queue<S>,
    answers: &Answers,
    key: KeyRange,
    from: i64,
) -> Result<(), PastError> {
    let mut follower = queue.follow(key, from)?;
    loop {
        for change in follower.next().await? {
            if change.deleted {
                return Ok(());
            }
            let revision = change.kv.mod_revision;
            tell(queue, answers, change.kv, revision).await?;
        }
    }
}

async fn tell<S: Store>(
    queue: &Queue<S>,
    answers: &Answers,
    kv: KeyValue,
    revision: i64,
) -> Result<(), Status> {
    let answer = pb::LeaderResponse {
        header: Some(queue.store.source().header(revision)),
        kv: Some(kv),
    };
    // The caller sees by itself that the client has gone.
    let sent = answers.send(Ok(answer)).await;
    sent.map_err(|_| Fault::Stopped.into())
}
