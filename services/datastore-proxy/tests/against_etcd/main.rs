//! The same random programs for a real etcd and for datastore-proxy: every answer must be the same, byte for
//! byte, up to the ids of cluster and members.
//!
//! `TEST_ETCD` names the etcd binary; without it the test is skipped. `TEST_SEED` repeats one program,
//! `TEST_PROGRAMS` runs more of them.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod etcdctl;
mod hash;
mod normal;
mod program;

use normal::{Outcome, outcome};
use program::{Program, Step};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_proto::etcd::mvccpb::Event;
use sextant_testkit::Process;
use std::path::Path;
use std::time::Duration;
use support::{Clients, Served, Store};

const PROGRAMS: u64 = 20;
const STEPS: usize = 300;

struct Etcd {
    url: String,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Etcd {
    async fn start(binary: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = |listener: std::net::TcpListener| listener.local_addr().expect("bound").port();
        let free = || port(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let url = format!("http://127.0.0.1:{}", free());
        let peer = format!("http://127.0.0.1:{}", free());
        let data = folder.path().display().to_string();
        let args = [
            "--data-dir",
            &data,
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
            "--unsafe-no-fsync",
        ];
        let process = Process::spawn(binary, &args, &[]).expect("etcd starts");
        let channel = tonic::transport::Channel::from_shared(url.clone()).expect("a URL");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while let Err(error) = channel.connect().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{error}: {}",
                process.output()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            url,
            _process: process,
            _folder: folder,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_answers_what_etcd_answers() {
    compare_all(async || Some(Store::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_answers_what_etcd_answers() {
    compare_all(Store::postgres).await;
}

/// Runs every program on a store of its own.
async fn compare_all(store: impl AsyncFn() -> Option<Store>) {
    let Some(binary) = std::env::var_os("TEST_ETCD") else {
        println!("SKIP TEST_ETCD names no etcd binary");
        return;
    };
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let programs = number("TEST_PROGRAMS").unwrap_or(PROGRAMS);
    let seeds = number("TEST_SEED").map_or(0..programs, |seed| seed..seed + 1);
    for seed in seeds {
        let Some(store) = store().await else {
            return;
        };
        let etcd = Etcd::start(binary.as_ref()).await;
        let served = Served::on(&store).await;
        compare(
            seed,
            Clients::connect(&etcd.url).await,
            served.clients().await,
        )
        .await;
        served.stop().await;
    }
}

async fn compare(seed: u64, mut theirs: Clients, mut ours: Clients) {
    let mut program = Program::new(seed);
    let their_events = follow(&mut theirs).await;
    let our_events = follow(&mut ours).await;
    let mut newest = 1;
    for number in 0..STEPS {
        let step = program.next(newest);
        let expected = run(&mut theirs, step.clone()).await;
        let found = run(&mut ours, step.clone()).await;
        assert_eq!(found, expected, "seed {seed}, step {number}: {step:#?}");
        newest = expected.revision().unwrap_or(newest).max(newest);
    }
    let expected = events(their_events, newest).await;
    let found = events(our_events, newest).await;
    assert_eq!(found, expected, "seed {seed}: what a watch was told");
}

async fn run(clients: &mut Clients, step: Step) -> Outcome {
    match step {
        Step::Range(request) => outcome(clients.kv.range(request).await, Outcome::Range),
        Step::Stream(request) => outcome(stream(clients, request).await, Outcome::Range),
        Step::Put(request) => outcome(clients.kv.put(request).await, Outcome::Put),
        Step::Delete(request) => outcome(clients.kv.delete_range(request).await, Outcome::Delete),
        Step::Txn(request) => outcome(clients.kv.txn(request).await, Outcome::Txn),
        Step::Compact(request) => outcome(clients.kv.compact(request).await, Outcome::Compact),
        Step::Grant(request) => outcome(clients.lease.lease_grant(request).await, Outcome::Grant),
        Step::Revoke(request) => {
            outcome(clients.lease.lease_revoke(request).await, Outcome::Revoke)
        }
        Step::TimeToLive(request) => outcome(
            clients.lease.lease_time_to_live(request).await,
            Outcome::TimeToLive,
        ),
        Step::Watch(request) => outcome(watch_once(clients, request).await, Outcome::Watch),
    }
}

/// The pieces of a streamed range put together.
async fn stream(
    clients: &mut Clients,
    request: pb::RangeRequest,
) -> Result<tonic::Response<pb::RangeResponse>, tonic::Status> {
    let mut pieces = clients.kv.range_stream(request).await?.into_inner();
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
    Ok(tonic::Response::new(whole))
}

/// Everything a watch that starts in the past is told until it has caught up, or is canceled.
async fn watch_once(
    clients: &mut Clients,
    request: pb::WatchCreateRequest,
) -> Result<tonic::Response<Vec<pb::WatchResponse>>, tonic::Status> {
    let (sender, requests) = tokio::sync::mpsc::channel(100);
    let ask = |union| pb::WatchRequest {
        request_union: Some(union),
    };
    sender
        .send(ask(RequestUnion::CreateRequest(request)))
        .await
        .expect("room");
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = clients.watch.watch(requests).await?.into_inner();
    let mut found: Vec<pb::WatchResponse> = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_millis(100), answers.message()).await;
        let Ok(answer) = next else {
            // Answered only by a stream that has caught up.
            let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            sender.send(ask(progress)).await.expect("room");
            continue;
        };
        let answer = answer?.expect("an answer");
        let is_report = answer.watch_id == -1 && !answer.created;
        let is_last = answer.canceled || is_report;
        match found.last_mut() {
            _ if is_report => {}
            Some(last) if !last.events.is_empty() => last.events.extend(answer.events),
            _ => found.push(answer),
        }
        if is_last {
            return Ok(tonic::Response::new(found));
        }
    }
}

async fn follow(clients: &mut Clients) -> tonic::Streaming<pb::WatchResponse> {
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let create = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 2,
        prev_kv: true,
        ..pb::WatchCreateRequest::default()
    };
    let union = Some(RequestUnion::CreateRequest(create));
    sender
        .send(pb::WatchRequest {
            request_union: union,
        })
        .await
        .expect("room");
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = clients
        .watch
        .watch(requests)
        .await
        .expect("a watch")
        .into_inner();
    let made = answers
        .message()
        .await
        .expect("a watch")
        .expect("an answer");
    assert!(made.created && !made.canceled, "{made:?}");
    // The sender lives as long as the test, since the client's end must stay open.
    std::mem::forget(sender);
    answers
}

/// Everything that a watch was told up to revision `through`.
async fn events(mut answers: tonic::Streaming<pb::WatchResponse>, through: i64) -> Vec<Event> {
    let mut found: Vec<Event> = Vec::new();
    let reached = |event: &Event| {
        event
            .kv
            .as_ref()
            .is_some_and(|kv| kv.mod_revision >= through)
    };
    while !found.last().is_some_and(reached) && through > 1 {
        let answer = tokio::time::timeout(Duration::from_secs(10), answers.message()).await;
        let answer = answer
            .expect("events in time")
            .expect("a watch")
            .expect("more events");
        assert!(!answer.canceled, "canceled: {answer:?}");
        found.extend(answer.events);
    }
    // What was compacted before it was told has no previous value; which ones is a matter of time.
    found.iter_mut().for_each(|event| event.prev_kv = None);
    found
}
