//! One watch of all keys of the plane, from which the watches of all clients are told what is new.

use super::Backend;
use super::batch::{Batch, changes, committed};
use super::{records, request};
use crate::domain::range::KeyRange;
use sextant_kit::backoff::Backoff;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_client::WatchClient;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

/// The watch of the keys.
const KEYS: i64 = 1;
/// The watch of the plane's own compaction.
const COMPACTION: i64 = 2;
/// etcd is asked how far it is at least so often, and answers unless it is gone.
const PULSE: Duration = Duration::from_secs(2);
/// etcd forgets a question that comes while it has events to send.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A stream on which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// Watches are ended, so that their clients look for another replica, when there is no stream for so long.
const GRACE: Duration = Duration::from_secs(15);
/// How long somebody waits for a fresh feed.
const FRESH_DEADLINE: Duration = Duration::from_secs(5);

/// What others know of the feed.
pub(super) struct State {
    /// How many times somebody wanted to know how far etcd is.
    asked: watch::Sender<u64>,
    /// How many of them have their answer.
    answered: watch::Sender<u64>,
    lost: watch::Sender<bool>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            asked: watch::Sender::new(0),
            answered: watch::Sender::new(0),
            lost: watch::Sender::new(false),
        }
    }

    /// Resolves once the hub has what the etcd at the other end had at the call, or after [`FRESH_DEADLINE`].
    pub(super) fn fresh(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let mut answered = self.answered.subscribe();
        async move {
            let answer = answered.wait_for(|answered| *answered >= number);
            // What is reported then is what is known.
            let _ = tokio::time::timeout(FRESH_DEADLINE, answer).await;
        }
    }

    /// Resolves when there was no feed for [`GRACE`].
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        if lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Follows the etcd for as long as the process lives.
pub(super) async fn run(backend: Backend) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut last_heard = Instant::now();
    let mut last_reason = String::new();
    loop {
        let mut heard = None;
        let reason = follow(&backend, &mut heard).await;
        if let Some(heard) = heard {
            last_heard = heard;
            backoff.reset();
        }
        // An etcd that is away for long is news once.
        if heard.is_some() || reason != last_reason {
            tracing::warn!(reason, "the feed of etcd ended: opening another one");
        }
        last_reason = reason;
        if last_heard.elapsed() > GRACE {
            backend.feed().lost.send_replace(true);
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Reads one stream until it ends; returns why. `heard`: when something came of it last.
async fn follow(backend: &Backend, heard: &mut Option<Instant>) -> String {
    let opened = backend.pool().feed(|channel| {
        let (requests, stream) = mpsc::channel(8);
        for union in subscriptions(backend) {
            ask(&requests, union);
        }
        async move {
            let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
            let stream = super::upstream::demanding_leader(ReceiverStream::new(stream));
            let answers = client.watch(stream).await?;
            Ok(answers.map(|answers| (requests, answers)))
        }
    });
    let ((requests, mut answers), member) = match opened.await {
        Ok(opened) => opened,
        Err(status) => return status.message().to_owned(),
    };
    backend.metrics().feed();
    backend.feed().lost.send_replace(false);
    tracing::info!(
        member,
        revision = backend.hub().revision(),
        "following etcd"
    );
    let mut follower = Follower {
        backend,
        requests,
        batch: Batch::default(),
        asking: None,
    };
    let mut asked = backend.feed().asked.subscribe();
    loop {
        let last = *heard.get_or_insert_with(Instant::now);
        tokio::select! {
            answer = answers.message() => {
                *heard = Some(Instant::now());
                let outcome = match answer {
                    Ok(Some(answer)) => follower.hear(answer).await,
                    Ok(None) => Err(format!("{member} ended it")),
                    Err(status) => Err(format!("{member}: {}", status.message())),
                };
                if let Err(reason) = outcome {
                    return reason;
                }
            }
            _ = asked.changed() => follower.inquire(),
            () = tokio::time::sleep_until(follower.next_question(last)) => follower.put(),
            () = tokio::time::sleep_until(last + SILENCE) => {
                return format!("{member} said nothing for {SILENCE:?}");
            }
        }
    }
}

fn subscriptions(backend: &Backend) -> Vec<RequestUnion> {
    let from = backend.hub().revision() + 1;
    let create = |watch_id, request| {
        RequestUnion::CreateRequest(pb::WatchCreateRequest {
            watch_id,
            ..request
        })
    };
    let keys = request::watch(backend.plane(), &KeyRange::all(), from);
    let mut all = vec![create(KEYS, keys)];
    if backend.plane().is_shared() {
        let compaction = pb::WatchCreateRequest {
            key: records::compaction(backend.plane().prefix()),
            start_revision: from,
            ..pb::WatchCreateRequest::default()
        };
        all.push(create(COMPACTION, compaction));
    }
    all
}

/// Puts a question, unless so many are waiting already that one more says nothing new.
fn ask(requests: &mpsc::Sender<pb::WatchRequest>, union: RequestUnion) {
    let request_union = Some(union);
    let _ = requests.try_send(pb::WatchRequest { request_union });
}

struct Follower<'a> {
    backend: &'a Backend,
    requests: mpsc::Sender<pb::WatchRequest>,
    batch: Batch,
    /// Whose questions the one under way answers, and when it was put last.
    asking: Option<(u64, Instant)>,
}

impl Follower<'_> {
    async fn hear(&mut self, answer: pb::WatchResponse) -> Result<(), String> {
        self.backend.saw(answer.header.as_ref());
        if answer.canceled {
            return self.canceled(&answer).await;
        }
        if answer.created {
            return Ok(());
        }
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        let hub = self.backend.hub();
        match answer.watch_id {
            COMPACTION => {
                let values = answer.events.iter().filter_map(|event| event.kv.as_ref());
                values
                    .filter_map(|kv| records::revision(&kv.value))
                    .for_each(|revision| self.backend.compacted_to(revision));
            }
            KEYS => {
                if let Some(events) = self.batch.push(answer) {
                    hub.publish(committed(changes(self.backend.plane(), events)));
                }
            }
            // On behalf of all watches of the stream.
            _ => {
                hub.reached(revision);
                if let Some((asked, _)) = self.asking.take() {
                    self.backend.feed().answered.send_replace(asked);
                }
                self.inquire();
            }
        }
        self.backend.measure_hub();
        Ok(())
    }

    /// etcd has forgotten what would come next: watches that need it are told so when they ask for it.
    async fn canceled(&self, answer: &pb::WatchResponse) -> Result<(), String> {
        if answer.compact_revision > 0 {
            let newest = self.backend.newest_of_etcd().await;
            let newest = newest.map_err(|status| status.to_string())?;
            self.backend
                .reload_compaction()
                .await
                .map_err(|status| status.to_string())?;
            self.backend.hub().reset(newest);
        }
        let pb::WatchResponse {
            watch_id,
            compact_revision,
            cancel_reason,
            ..
        } = answer;
        Err(format!(
            "etcd canceled watch {watch_id}: {cancel_reason:?}, compacted at {compact_revision}"
        ))
    }

    /// Asks how far etcd is, unless it is being asked or nobody wants to know.
    fn inquire(&mut self) {
        let feed = self.backend.feed();
        let asked = *feed.asked.borrow();
        if self.asking.is_none() && asked > *feed.answered.borrow() {
            self.put();
        }
    }

    /// When etcd is asked next, though nobody wants to know anew.
    fn next_question(&self, last_heard: Instant) -> Instant {
        match self.asking {
            Some((_, at)) => at + ASK_AGAIN,
            None => last_heard + PULSE,
        }
    }

    fn put(&mut self) {
        // Those who asked before an unanswered question was put have the first claim on its answer.
        let asked = match self.asking {
            Some((asked, _)) => asked,
            None => *self.backend.feed().asked.borrow(),
        };
        self.asking = Some((asked, Instant::now()));
        ask(
            &self.requests,
            RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
        );
    }
}
