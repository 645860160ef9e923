//! One side of the comparison: runs steps, follows watches.

use super::normal::{Outcome, outcome};
use super::step::Step;
use crate::support::Clients;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_proto::etcd::mvccpb::Event;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// No step takes as long as that.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a watch that catches up is asked whether it has.
const ASK: Duration = Duration::from_millis(50);

/// What both sides know of the store, as etcd answered it.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub newest: i64,
    pub compacted: i64,
}

impl World {
    pub fn new() -> Self {
        Self {
            newest: 1,
            compacted: 0,
        }
    }

    pub fn note(&mut self, step: &Step, outcome: &Outcome) {
        self.newest = outcome.revision().unwrap_or(self.newest).max(self.newest);
        if let (Step::Compact(request), Outcome::Compact(_)) = (step, outcome) {
            self.compacted = request.revision;
        }
    }
}

pub struct Side {
    clients: Clients,
    followed: Vec<Option<Followed>>,
}

impl Side {
    pub fn new(clients: Clients) -> Self {
        Self {
            clients,
            followed: Vec::new(),
        }
    }

    pub async fn run(&mut self, step: &Step, world: World) -> Outcome {
        let done = tokio::time::timeout(DEADLINE, self.run_step(step.clone(), world));
        done.await.unwrap_or(Outcome::Hung)
    }

    async fn run_step(&mut self, step: Step, world: World) -> Outcome {
        let Clients { kv, lease, .. } = &mut self.clients;
        match step {
            Step::Cancel(request) => self.cancel(request.watch_id, world).await,
            Step::Compact(request) => {
                // What a watch can still say of what is forgotten is a matter of time.
                self.catch_up(world).await;
                outcome(
                    self.clients.kv.compact(request).await,
                    Outcome::Compact,
                    world,
                )
            }
            Step::Delete(request) => {
                outcome(kv.delete_range(request).await, Outcome::Delete, world)
            }
            Step::Follow(request) => self.follow(request, world).await,
            Step::Grant(request) => {
                outcome(lease.lease_grant(request).await, Outcome::Grant, world)
            }
            Step::KeepAlive(request) => {
                outcome(self.keep_alive(request).await, Outcome::KeepAlive, world)
            }
            Step::Leases(request) => {
                outcome(lease.lease_leases(request).await, Outcome::Leases, world)
            }
            Step::Put(request) => outcome(kv.put(request).await, Outcome::Put, world),
            Step::Range(request) => outcome(kv.range(request).await, Outcome::Range, world),
            Step::Revoke(request) => {
                outcome(lease.lease_revoke(request).await, Outcome::Revoke, world)
            }
            Step::Stream(request) => outcome(self.stream(request).await, Outcome::Range, world),
            Step::TimeToLive(request) => outcome(
                lease.lease_time_to_live(request).await,
                Outcome::TimeToLive,
                world,
            ),
            Step::Txn(request) => outcome(kv.txn(request).await, Outcome::Txn, world),
            Step::Watch(request) => outcome(self.watch(request).await, Outcome::Watch, world),
        }
    }

    async fn keep_alive(
        &mut self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<Response<pb::LeaseKeepAliveResponse>, Status> {
        let requests = tokio_stream::once(request);
        let mut answers = self
            .clients
            .lease
            .lease_keep_alive(requests)
            .await?
            .into_inner();
        Ok(Response::new(answers.message().await?.expect("an answer")))
    }

    /// The pieces of a streamed range put together.
    async fn stream(
        &mut self,
        request: pb::RangeRequest,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let mut pieces = self.clients.kv.range_stream(request).await?.into_inner();
        let mut whole = pb::RangeResponse::default();
        while let Some(piece) = pieces.message().await? {
            let piece = piece.range_response.expect("a piece holds a range");
            whole.kvs.extend(piece.kvs);
            if let Some(header) = piece.header {
                assert!(whole.header.is_none(), "two headers");
                whole.header = Some(header);
                (whole.count, whole.more) = (piece.count, piece.more);
            }
        }
        Ok(Response::new(whole))
    }

    /// Everything that a watch of the past is told until it has caught up, or is canceled.
    async fn watch(
        &mut self,
        request: pb::WatchCreateRequest,
    ) -> Result<Response<Vec<pb::WatchResponse>>, Status> {
        let mut stream = WatchStream::open(&mut self.clients, request).await?;
        let mut found: Vec<pb::WatchResponse> = Vec::new();
        loop {
            let Some(answer) = stream.next().await? else {
                stream.ask_progress().await;
                continue;
            };
            let is_report = is_report(&answer);
            let is_last = answer.canceled || is_report;
            match found.last_mut() {
                _ if is_report => {}
                // In how many answers, and pieces of answers, is up to the server.
                Some(last) if !last.events.is_empty() => {
                    last.fragment = answer.fragment;
                    last.events.extend(answer.events);
                }
                _ => found.push(answer),
            }
            if is_last {
                return Ok(Response::new(found));
            }
        }
    }

    async fn follow(&mut self, request: pb::WatchCreateRequest, world: World) -> Outcome {
        let start = request.start_revision;
        if start != 0 && start < world.compacted {
            // etcd reports no progress on a stream with such a watch; `Watch` is for these.
            self.followed.push(None);
            return Outcome::Skipped;
        }
        let followed = Followed::open(&mut self.clients, request).await;
        let (followed, made) = match followed {
            Ok((followed, made)) => (Some(followed), Ok(Response::new(vec![made]))),
            Err(status) => (None, Err(status)),
        };
        self.followed
            .push(followed.filter(|followed| followed.is_made));
        outcome(made, Outcome::Watch, world)
    }

    async fn cancel(&mut self, number: i64, world: World) -> Outcome {
        let number = usize::try_from(number).expect("a number");
        let Some(mut followed) = self.followed.get_mut(number).and_then(Option::take) else {
            return Outcome::Skipped;
        };
        followed.catch_up(world).await;
        followed.cancel().await;
        Outcome::Told(followed.told)
    }

    async fn catch_up(&mut self, world: World) {
        for followed in self.followed.iter_mut().flatten() {
            followed.catch_up(world).await;
        }
    }

    /// What the watches that are still followed were told.
    pub async fn told(mut self, world: World) -> Vec<Vec<Event>> {
        let caught_up = tokio::time::timeout(DEADLINE, self.catch_up(world)).await;
        let told = self
            .followed
            .into_iter()
            .flatten()
            .map(|followed| followed.told);
        let told: Vec<_> = told.collect();
        assert!(
            caught_up.is_ok(),
            "a watch never caught up; told so far: {told:#?}"
        );
        told
    }
}

fn is_report(answer: &pb::WatchResponse) -> bool {
    answer.watch_id == -1 && !answer.created
}

struct WatchStream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl WatchStream {
    async fn open(clients: &mut Clients, create: pb::WatchCreateRequest) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(100);
        // etcd answers nothing at all before it was asked something.
        let first = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        requests.send(first).await.expect("room");
        let answers = clients.watch.watch(ReceiverStream::new(stream)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
        })
    }

    async fn ask(&self, union: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(union),
        };
        self.requests.send(request).await.expect("room");
    }

    async fn ask_progress(&self) {
        let progress = pb::WatchProgressRequest {};
        self.ask(RequestUnion::ProgressRequest(progress)).await;
    }

    /// The next answer, `None` if there is none for a while.
    async fn next(&mut self) -> Result<Option<pb::WatchResponse>, Status> {
        match tokio::time::timeout(ASK, self.answers.message()).await {
            Ok(answer) => Ok(Some(answer?.expect("an answer"))),
            Err(_) => Ok(None),
        }
    }
}

/// A watch on a stream of its own.
struct Followed {
    stream: WatchStream,
    id: i64,
    start: i64,
    is_made: bool,
    told: Vec<Event>,
}

impl Followed {
    async fn open(
        clients: &mut Clients,
        request: pb::WatchCreateRequest,
    ) -> Result<(Self, pb::WatchResponse), Status> {
        let start = request.start_revision;
        let mut stream = WatchStream::open(clients, request).await?;
        let made = stream.answers.message().await?.expect("an answer");
        let followed = Self {
            stream,
            id: made.watch_id,
            start,
            is_made: made.created && !made.canceled,
            told: Vec::new(),
        };
        Ok((followed, made))
    }

    /// Reads until it was told everything. One of the future has nothing to tell yet.
    async fn catch_up(&mut self, world: World) {
        if self.start > world.newest {
            return;
        }
        self.stream.ask_progress().await;
        loop {
            match self.stream.next().await.expect("a watch") {
                None => self.stream.ask_progress().await,
                // An older one answers what was asked before.
                Some(answer) if is_report(&answer) => {
                    if answer.header.expect("a header").revision >= world.newest {
                        return;
                    }
                }
                Some(answer) => self.note(answer, world),
            }
        }
    }

    async fn cancel(&mut self) {
        let watch_id = self.id;
        let cancel = pb::WatchCancelRequest { watch_id };
        self.stream.ask(RequestUnion::CancelRequest(cancel)).await;
        while !self
            .stream
            .next()
            .await
            .expect("a watch")
            .is_some_and(|answer| answer.canceled)
        {}
    }

    fn note(&mut self, answer: pb::WatchResponse, world: World) {
        assert!(!answer.canceled, "canceled: {answer:?}");
        for mut event in answer.events {
            // What was before the compaction may be gone or not.
            if event
                .kv
                .as_ref()
                .is_some_and(|kv| kv.mod_revision <= world.compacted)
            {
                event.prev_kv = None;
            }
            self.told.push(event);
        }
    }
}
