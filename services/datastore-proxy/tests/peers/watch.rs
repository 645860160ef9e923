//! Watches: told everything, in time, and never ahead of what they were told.

use crate::support::stream::{Stream, prefix};
use crate::support::{self, Clients, Served, delete, put};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::mvccpb::event::EventType;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn compact(clients: &mut Clients, revision: i64) {
    let compaction = pb::CompactionRequest {
        revision,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
}

/// Writes until told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<i64>,
}

impl Writer {
    async fn start(served: &Served, key: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut clients) = (Arc::clone(&stop), served.clients().await);
        let task = tokio::spawn(async move {
            let mut newest = 0;
            while !stopped.load(Ordering::Relaxed) {
                newest = clients.put(key, "v").await;
            }
            newest
        });
        Self { stop, task }
    }

    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kine_759_progress_goes_on_under_steady_writes() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let clients = served.clients().await;
    let writer = Writer::start(&served, "elsewhere").await;
    let mut stream = Stream::open(&clients).await;
    stream.create(prefix("k", 0)).await;
    let mut known = 0;
    while known < 100 {
        stream.ask_progress().await;
        let answer = stream.next().await;
        assert!(
            answer.events.is_empty() && answer.watch_id == -1,
            "{answer:?}"
        );
        let revision = answer.header.unwrap().revision;
        assert!(revision >= known, "{revision} after {known}");
        known = revision;
    }
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8s_dqlite_progress_never_overtakes_events() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    stream.create(prefix("k", 0)).await;
    let writer = Writer::start(&served, "k").await;
    let (mut told, mut reports) = (1, 0);
    while reports < 50 {
        stream.ask_progress().await;
        let answer = stream.next().await;
        let named = answer.header.unwrap().revision;
        if answer.events.is_empty() {
            assert_eq!(named, told, "events up to there were not told");
            reports += 1;
        }
        for event in answer.events {
            assert_eq!(event.kv.unwrap().mod_revision, told + 1);
            told += 1;
        }
    }
    writer.stop().await;
}

#[tokio::test]
async fn k8s_dqlite_reports_go_on_after_the_first_event() {
    let (_folder, path) = support::store();
    let mut config = support::config(&path);
    config.watch_progress_seconds = 1;
    let served = Served::start_with(config).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    let mut request = prefix("k", 0);
    request.progress_notify = true;
    stream.create(request).await;
    for _ in 0..2 {
        clients.put("k", "v").await;
        assert_eq!(stream.next().await.events.len(), 1);
        let elsewhere = clients.put("elsewhere", "v").await;
        let report = stream.next().await;
        assert!(report.events.is_empty(), "{report:?}");
        assert_eq!(report.header.unwrap().revision, elsewhere);
    }
}

#[tokio::test]
async fn k8s_dqlite_the_end_of_a_compacted_watch_names_the_compaction() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for _ in 0..5 {
        clients.put("k", "v").await;
    }
    compact(&mut clients, 5).await;
    let mut stream = Stream::open(&clients).await;
    assert!(stream.create(prefix("k", 2)).await.created);
    let end = stream.next().await;
    assert!(end.canceled && end.compact_revision == 5, "{end:?}");
}

#[tokio::test]
async fn kine_filters_and_previous_values_are_as_asked_for() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    let deletions = pb::WatchCreateRequest {
        watch_id: 7,
        filters: vec![pb::watch_create_request::FilterType::Noput.into()],
        ..prefix("k", 0)
    };
    assert_eq!(stream.create(deletions).await.watch_id, 7);
    clients.put("k", "v").await;
    clients.kv.delete_range(delete("k")).await.unwrap();
    let answer = stream.next().await;
    let events: Vec<_> = answer.events.iter().map(|event| event.r#type()).collect();
    assert_eq!((answer.watch_id, events), (7, vec![EventType::Delete]));
    assert_eq!(answer.events[0].prev_kv, None, "nobody asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_17529_a_watch_that_lags_catches_up_under_load() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for number in 0..500 {
        clients.put(&format!("k{number}"), &"v".repeat(2000)).await;
    }
    let writer = Writer::start(&served, "k").await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        // Each on a connection of its own: streams that aren't read would take the room of the others.
        let mut stream = Stream::open(&served.clients().await).await;
        stream.create(prefix("k", 2)).await;
        streams.push(stream);
    }
    streams[0].until(501).await;
    writer.stop().await;
    let newest = clients.put("k", "last").await;
    for stream in &mut streams {
        stream.until(newest).await;
    }
}

#[tokio::test]
async fn etcd_18089_a_deletion_at_the_compacted_revision_is_told() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    clients.put("k", "v").await;
    clients.kv.delete_range(delete("k")).await.unwrap();
    clients.put("other", "v").await;
    compact(&mut clients, 3).await;
    let mut stream = Stream::open(&clients).await;
    assert!(stream.create(prefix("k", 3)).await.created);
    let found = stream.until(3).await;
    assert_eq!(found, [(EventType::Delete, "k".to_owned(), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_19179_a_watch_overtaken_by_a_compaction_loses_nothing_silently() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for _ in 0..300 {
        clients
            .kv
            .put(put("k", &"v".repeat(100_000)))
            .await
            .unwrap();
    }
    let mut stream = Stream::open(&clients).await;
    stream.create(prefix("k", 2)).await;
    // It doesn't read, so that it lags when this comes.
    compact(&mut clients, 301).await;
    let mut next = 2;
    loop {
        let answer = stream.next().await;
        if answer.canceled {
            assert_eq!(answer.compact_revision, 301);
            break;
        }
        for event in answer.events {
            assert_eq!(event.kv.unwrap().mod_revision, next);
            next += 1;
        }
        if next == 302 {
            break;
        }
    }
}

#[tokio::test]
async fn etcd_20221_a_watch_of_the_future_is_told_nothing_older() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    stream.create(prefix("k", 5)).await;
    for _ in 2..=6 {
        clients.put("k", "v").await;
        // A report would promise that revisions up to it were told: true of 4, before which it wants nothing.
        stream.ask_progress().await;
    }
    let mut told = Vec::new();
    while told.last() != Some(&6) {
        let answer = stream.next().await;
        assert!(answer.header.unwrap().revision >= 4, "{answer:?}");
        told.extend(
            answer
                .events
                .into_iter()
                .map(|event| event.kv.unwrap().mod_revision),
        );
    }
    assert_eq!(told, [5, 6]);
}
