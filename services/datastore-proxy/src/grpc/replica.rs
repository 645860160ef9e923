//! What other replicas ask this one.

use super::Services;
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::engine::{self, Refused, Request as Queued};
use crate::replica::{Replicas, Writer, wire};
use sextant_proto::datastore as pb;
use sextant_proto::datastore::replica_server::ReplicaServer;
use sextant_proto::datastore::submit_request::Work;
use sextant_proto::datastore::submit_response::Outcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Commits on their way to one follower.
const COMMITS: usize = 16;
/// How often a follower hears something.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Compactions wait until the rows are gone; the caller has a limit of its own.
const LIMIT: Duration = Duration::from_secs(600);

struct Replica {
    services: Services,
    replicas: Arc<Replicas>,
}

/// The service, for a listener of its own.
pub fn replica_routes(services: Services, replicas: Arc<Replicas>) -> Routes {
    let service = ReplicaServer::new(Replica { services, replicas })
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    Routes::new(service)
}

impl Replica {
    async fn run(&self, work: Work, caller: Caller) -> Result<Outcome, Fault> {
        let writer = self.replicas.writer().borrow().clone();
        let Writer::Here { commands, .. } = writer else {
            return Ok(Outcome::NotWriter(pb::NotWriter {}));
        };
        match work {
            Work::TimeToLive(request) => {
                let response = self.services.time_to_live(request, &caller).await?;
                Ok(Outcome::TimeToLive(response))
            }
            Work::Leases(_) => Ok(Outcome::Leases(self.services.leases(&caller))),
            work => {
                let Some(request) = wire::request(work)? else {
                    return Err(Fault::Unsupported("this request is not known here"));
                };
                // What the store may hold is decided where it is written.
                self.services.engine.admit(&request).await?;
                queue(&commands, request, caller).await
            }
        }
    }
}

async fn queue(
    commands: &engine::Sender,
    request: Queued,
    caller: Caller,
) -> Result<Outcome, Fault> {
    match engine::enqueue(commands, request, caller) {
        Ok(answer) => engine::wait(answer, LIMIT).await.map(wire::outcome),
        Err(Refused::Closed(_)) => Ok(Outcome::NotWriter(pb::NotWriter {})),
        Err(Refused::Full) => Err(Fault::TooManyRequests),
    }
}

#[tonic::async_trait]
impl pb::replica_server::Replica for Replica {
    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        let pb::SubmitRequest { caller, work } = request.into_inner();
        let work = work.ok_or_else(|| Status::invalid_argument("the request is empty"))?;
        let outcome = match self.run(work, Caller::named(&caller)).await {
            Ok(outcome) => outcome,
            Err(fault) => {
                let status = Status::from(fault);
                Outcome::Refusal(pb::Refusal {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                })
            }
        };
        Ok(Response::new(pb::SubmitResponse {
            outcome: Some(outcome),
        }))
    }

    async fn revision(
        &self,
        _: Request<pb::RevisionRequest>,
    ) -> Result<Response<pb::RevisionResponse>, Status> {
        match self.replicas.own_revision() {
            Some(revision) => Ok(Response::new(pb::RevisionResponse { revision })),
            None => Err(not_writing()),
        }
    }

    type FollowStream = ReceiverStream<Result<pb::FollowResponse, Status>>;

    async fn follow(
        &self,
        _: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut writer = self.replicas.writer();
        if !matches!(&*writer.borrow_and_update(), Writer::Here { .. }) {
            return Err(not_writing());
        }
        let shared = self.replicas.shared();
        let mut commits = shared.follow();
        // Read after that, so that nothing falls in between.
        let begin = {
            let state = shared.state();
            pb::FollowResponse {
                first_row: state.next_row,
                writes: Vec::new(),
                compacted: state.compacted.max(0),
            }
        };
        let (sender, stream) = mpsc::channel(COMMITS);
        self.services.drain.spawn(async move {
            if sender.send(Ok(begin)).await.is_err() {
                return;
            }
            loop {
                let commit = tokio::select! {
                    // A follower that is too slow reads the database instead.
                    commit = commits.recv() => match commit {
                        Ok(commit) => Arc::unwrap_or_clone(commit),
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(SIGN_OF_LIFE) => pb::FollowResponse::default(),
                    _ = writer.changed() => return,
                };
                if sender.send(Ok(commit)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn not_writing() -> Status {
    Status::failed_precondition("this replica doesn't write, or can't be sure of it")
}
