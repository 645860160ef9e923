//! The random programs of `against_etcd`, for an etcd and for a datastore-proxy in front of another one: the same
//! answers, up to ids, and with a prefix up to the numbers of revisions.

#[path = "../against_etcd/normal.rs"]
mod normal;
#[path = "../against_etcd/program.rs"]
mod program;

use crate::etcd::{self, Etcd, plane};
use crate::revisions::Revisions;
use crate::support::{Clients, get, revision};
use normal::{Outcome, outcome};
use program::{Program, Step};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

const PROGRAMS: u64 = 6;
const STEPS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_of_its_own() {
    programs("", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_among_others() {
    // Even programs have transactions that delete from a key on without an end and put such a key again. A plane's
    // keys have an end in the etcd, which then sees that both meet.
    programs("/a/plane", 2).await;
}

async fn programs(prefix: &str, every: usize) {
    let Some(binary) = etcd::binary() else { return };
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let programs = number("TEST_PROGRAMS").unwrap_or(PROGRAMS);
    let seeds = number("TEST_SEED").map_or(1..programs + 1, |seed| seed..seed + 1);
    for seed in seeds.step_by(every) {
        println!("TEST_SEED={seed}, prefix {prefix:?}");
        let (plain, behind) = (Etcd::start(&binary).await, Etcd::start(&binary).await);
        let served = plane(&behind, prefix).await;
        compare(
            seed,
            Clients::connect(&plain.url()).await,
            served.clients().await,
        )
        .await;
        served.stop().await;
    }
}

async fn compare(seed: u64, mut theirs: Clients, mut ours: Clients) {
    let mut program = Program::new(seed);
    let header = ours
        .kv
        .range(get("x"))
        .await
        .expect("an answer")
        .into_inner()
        .header;
    let mut revisions = Revisions::new(revision(header));
    let (mut newest, mut compacted) = (1, 0);
    for number in 0..STEPS {
        let step = program.next(newest);
        let mut expected = run(&mut theirs, step.clone()).await;
        let mut asked = step.clone();
        ask(&revisions, &mut asked);
        let mut found = run(&mut ours, asked).await;
        if let (Some(plain), Some(plane)) = (expected.revision(), found.revision())
            && plain > newest
        {
            newest = plain;
            revisions.note(plain, plane);
        }
        answer(&revisions, &mut found);
        if let (Step::Compact(request), Outcome::Compact(_)) = (&step, &expected) {
            compacted = request.revision;
        }
        forget(compacted, &mut expected);
        forget(compacted, &mut found);
        assert_eq!(found, expected, "seed {seed}, step {number}: {step:#?}");
    }
}

/// What was before the compaction may be gone from a watch or not.
fn forget(compacted: i64, outcome: &mut Outcome) {
    let Outcome::Watch(answers) = outcome else {
        return;
    };
    for event in answers.iter_mut().flat_map(|answer| &mut answer.events) {
        if event
            .kv
            .as_ref()
            .is_some_and(|kv| kv.mod_revision <= compacted)
        {
            event.prev_kv = None;
        }
    }
}

fn ask(revisions: &Revisions, step: &mut Step) {
    match step {
        Step::Compact(request) => revisions.ask_compaction(request),
        Step::Range(request) | Step::Stream(request) => revisions.ask_range(request),
        Step::Txn(request) => revisions.ask_txn(request),
        Step::Watch(request) => revisions.ask_watch(request),
        Step::Delete(_) | Step::Grant(_) | Step::Put(_) | Step::Revoke(_) | Step::TimeToLive(_) => {
        }
    }
}

fn answer(revisions: &Revisions, outcome: &mut Outcome) {
    match outcome {
        Outcome::Compact(answer) => revisions.header(&mut answer.header),
        Outcome::Delete(answer) => revisions.delete(answer),
        Outcome::Failed(..) => {}
        Outcome::Grant(answer) => revisions.header(&mut answer.header),
        Outcome::Put(answer) => revisions.put(answer),
        Outcome::Range(answer) => revisions.range(answer),
        Outcome::Revoke(answer) => revisions.header(&mut answer.header),
        Outcome::TimeToLive(answer) => revisions.header(&mut answer.header),
        Outcome::Txn(answer) => revisions.txn(answer),
        Outcome::Watch(answers) => answers
            .iter_mut()
            .for_each(|answer| revisions.watch(answer)),
    }
}

async fn run(clients: &mut Clients, step: Step) -> Outcome {
    let Clients { kv, lease, .. } = clients;
    match step {
        Step::Range(request) => outcome(kv.range(request).await, Outcome::Range),
        Step::Stream(request) => outcome(stream(clients, request).await, Outcome::Range),
        Step::Put(request) => outcome(kv.put(request).await, Outcome::Put),
        Step::Delete(request) => outcome(kv.delete_range(request).await, Outcome::Delete),
        Step::Txn(request) => outcome(kv.txn(request).await, Outcome::Txn),
        Step::Compact(request) => outcome(kv.compact(request).await, Outcome::Compact),
        Step::Grant(request) => outcome(lease.lease_grant(request).await, Outcome::Grant),
        Step::Revoke(request) => outcome(lease.lease_revoke(request).await, Outcome::Revoke),
        Step::TimeToLive(request) => {
            outcome(lease.lease_time_to_live(request).await, Outcome::TimeToLive)
        }
        Step::Watch(request) => outcome(watch(clients, request).await, Outcome::Watch),
    }
}

/// The pieces of a streamed range put together.
async fn stream(
    clients: &mut Clients,
    request: pb::RangeRequest,
) -> Result<Response<pb::RangeResponse>, Status> {
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
    Ok(Response::new(whole))
}

/// Everything a watch that starts in the past is told until it has caught up, or is canceled.
async fn watch(
    clients: &mut Clients,
    request: pb::WatchCreateRequest,
) -> Result<Response<Vec<pb::WatchResponse>>, Status> {
    let (sender, requests) = mpsc::channel(100);
    let ask = |union| pb::WatchRequest {
        request_union: Some(union),
    };
    let create = ask(RequestUnion::CreateRequest(request));
    sender.send(create).await.expect("room");
    let answers = clients.watch.watch(ReceiverStream::new(requests)).await?;
    let mut answers = answers.into_inner();
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
            return Ok(Response::new(found));
        }
    }
}
