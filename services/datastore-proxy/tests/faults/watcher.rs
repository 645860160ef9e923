//! Clients that watch, and go on where they were when they are cut off.

use crate::history::{Told, Watch};
use crate::load::Notes;
use crate::support::{Clients, prefix_end};
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_proto::etcd::mvccpb::Event;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// After a silence of that long a watch asks how far it is, and after ten of them it begins anew.
const SILENCE: Duration = Duration::from_millis(50);
const SILENCES: u32 = 10;

/// Watches until it has heard everything through the revision that `through` comes to hold.
pub(crate) async fn run(
    wanted: Watch,
    clients: Clients,
    notes: Notes,
    through: watch::Receiver<Option<i64>>,
) {
    let mut next = wanted.start;
    loop {
        let mut watch = Watch {
            start: next,
            ..wanted.clone()
        };
        // However it ended: what it was told counts.
        let ended = follow(&mut watch, &clients, &notes, &through).await;
        next = watch.answers.last().map_or(next, |told| told.through() + 1);
        notes.note(|history| history.watches.push(watch));
        match ended {
            Ok(()) => return,
            Err(_) => tokio::time::sleep(SILENCE).await,
        }
    }
}

/// `Ok` when it has heard everything it waits for.
async fn follow(
    watch: &mut Watch,
    clients: &Clients,
    notes: &Notes,
    through: &watch::Receiver<Option<i64>>,
) -> Result<(), Status> {
    let (sender, mut answers) = open(clients, watch).await?;
    let mut silences = 0;
    loop {
        let Ok(answer) = tokio::time::timeout(SILENCE, answers.message()).await else {
            silences += 1;
            if silences > SILENCES {
                return Err(Status::deadline_exceeded("silence"));
            }
            ask_progress(&sender).await;
            continue;
        };
        silences = 0;
        let answer = answer?.ok_or_else(|| Status::unavailable("the end"))?;
        assert!(!answer.canceled, "{answer:?}");
        if answer.created {
            continue;
        }
        let revision = answer.header.unwrap().revision;
        watch.answers.push(Told {
            at: notes.now(),
            revision,
            events: answer.events,
        });
        if through.borrow().is_some_and(|through| revision >= through) {
            return Ok(());
        }
    }
}

type Opened = (mpsc::Sender<pb::WatchRequest>, Streaming<pb::WatchResponse>);

async fn open(clients: &Clients, watch: &Watch) -> Result<Opened, Status> {
    let all = || Bytes::from_static(b"\0");
    let (key, range_end) = match watch.prefix {
        "" => (all(), all()),
        prefix => (prefix.into(), prefix_end(prefix).into()),
    };
    let create = pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: watch.start,
        prev_kv: watch.prev_kv,
        filters: watch
            .no_put
            .then(|| FilterType::Noput.into())
            .into_iter()
            .collect(),
        ..pb::WatchCreateRequest::default()
    };
    let (sender, stream) = mpsc::channel(16);
    let first = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    sender.send(first).await.expect("room");
    let mut client = clients.watch.clone();
    let asked = client.watch(ReceiverStream::new(stream));
    let answers = tokio::time::timeout(SILENCE * SILENCES, asked).await;
    let answers = answers.map_err(|_| Status::deadline_exceeded("no stream"))??;
    Ok((sender, answers.into_inner()))
}

async fn ask_progress(sender: &mpsc::Sender<pb::WatchRequest>) {
    let progress = pb::WatchRequest {
        request_union: Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})),
    };
    // A stream that has ended says so itself.
    let _ = sender.try_send(progress);
}

/// Every change of every revision.
pub(crate) async fn log(clients: &Clients, through: i64) -> Vec<Event> {
    let all = Watch {
        prefix: "",
        start: 2,
        no_put: false,
        prev_kv: false,
        answers: Vec::new(),
    };
    let (sender, mut answers) = open(clients, &all).await.unwrap();
    let mut log = Vec::new();
    let reading = async {
        loop {
            let Ok(answer) = tokio::time::timeout(SILENCE, answers.message()).await else {
                ask_progress(&sender).await;
                continue;
            };
            let answer = answer.unwrap().unwrap();
            log.extend(answer.events);
            let is_told = !answer.created && answer.header.unwrap().revision >= through;
            if is_told {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("the log in time");
    log
}
