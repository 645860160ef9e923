//! Watches: nothing lost, nothing twice, whole revisions, progress never ahead.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_proto::etcd::mvccpb::event::EventType;
use support::stream::{Stream, prefix};
use support::{Served, Store, delete, put, revision};

support::on_each_backend! {
    events_come_once_and_in_order_also_after_a_restart,
    prev_kv_filters_and_ids,
    a_watch_of_the_forgotten_is_canceled,
    a_transaction_is_told_as_one,
    an_idle_watch_hears_of_progress,
    large_answers_come_in_pieces_when_asked_for,
    a_slow_client_loses_nothing_and_holds_up_nobody,
    progress_is_never_ahead_of_events,
}

async fn events_come_once_and_in_order_also_after_a_restart(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for number in 0..50 {
        clients.put(&format!("/a/{}", number % 7), "v").await;
        clients.put("/b/x", "v").await;
    }
    let deleted = clients
        .kv
        .delete_range(delete("/a/3"))
        .await
        .unwrap()
        .into_inner();
    let last = revision(deleted.header);
    served.stop().await;

    // What is told now is read from the log.
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    assert!(stream.create(prefix("/a/", 10)).await.created);
    let found = stream.until(last).await;
    assert_eq!(
        found.first(),
        Some(&(EventType::Put, "/a/4".to_owned(), 10))
    );
    assert_eq!(found.len(), 47);
    assert_eq!(
        found.last(),
        Some(&(EventType::Delete, "/a/3".to_owned(), last))
    );
    let next = clients.put("/a/new", "v").await;
    assert_eq!(
        stream.until(next).await,
        [(EventType::Put, "/a/new".to_owned(), next)]
    );
}

async fn prev_kv_filters_and_ids(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    let mut request = prefix("k", 0);
    request.prev_kv = true;
    assert_eq!(stream.create(request.clone()).await.watch_id, 0);
    request.watch_id = 42;
    request.filters = vec![FilterType::Noput.into()];
    assert_eq!(stream.create(request.clone()).await.watch_id, 42);
    let twice = stream.create(request).await;
    assert!(
        twice.created && twice.canceled && twice.watch_id == -1,
        "{twice:?}"
    );

    clients.put("k", "1").await;
    clients.put("k", "2").await;
    let gone = clients
        .kv
        .delete_range(delete("k"))
        .await
        .unwrap()
        .into_inner();
    let through = revision(gone.header);
    let mut told = Vec::new();
    while told.len() < 4 {
        let answer = stream.next().await;
        for event in answer.events {
            let before = event
                .prev_kv
                .map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
            told.push((answer.watch_id, event.kv.unwrap().mod_revision, before));
        }
    }
    told.sort();
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        (0, 2, None),
        (0, 3, text("1")),
        (0, through, text("2")),
        (42, through, text("2")),
    ];
    assert_eq!(told, expected);

    stream
        .ask(RequestUnion::CancelRequest(pb::WatchCancelRequest {
            watch_id: 42,
        }))
        .await;
    let answer = stream.next().await;
    assert!(answer.canceled && answer.watch_id == 42, "{answer:?}");
}

async fn a_watch_of_the_forgotten_is_canceled(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for _ in 0..10 {
        clients.put("k", "v").await;
    }
    let compaction = pb::CompactionRequest {
        revision: 8,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    let mut stream = Stream::open(&clients).await;
    assert!(stream.create(prefix("k", 7)).await.created);
    let answer = stream.next().await;
    assert!(
        answer.canceled && answer.compact_revision == 8,
        "{answer:?}"
    );
    // From the compacted revision itself on everything is there.
    assert!(stream.create(prefix("k", 8)).await.created);
    assert_eq!(stream.until(11).await.len(), 4);
}

async fn a_transaction_is_told_as_one(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    stream.create(prefix("k", 0)).await;
    let op = |key: String| {
        let put = pb::request_op::Request::RequestPut(put(&key, &"v".repeat(10_000)));
        pb::RequestOp { request: Some(put) }
    };
    let success = (0..100).map(|number| op(format!("k{number:03}"))).collect();
    let txn = pb::TxnRequest {
        success,
        ..pb::TxnRequest::default()
    };
    clients.kv.txn(txn.clone()).await.unwrap();
    let answer = stream.next().await;
    assert_eq!(answer.events.len(), 100);
    assert!(
        answer
            .events
            .iter()
            .all(|event| event.kv.as_ref().unwrap().mod_revision == 2)
    );
}

async fn a_slow_client_loses_nothing_and_holds_up_nobody(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    let mut slow = Stream::open(&clients).await;
    slow.create(prefix("k", 0)).await;
    // Far more than all buffers on the way hold.
    let value = "v".repeat(100_000);
    let mut last = 0;
    for number in 0..300 {
        last = clients.put(&format!("k{}", number % 10), &value).await;
    }
    let found = slow.until(last).await;
    assert_eq!(found.len(), 300);
    assert_eq!(found.first().map(|f| f.2), Some(2));
}

async fn progress_is_never_ahead_of_events(store: Store) {
    let served = Served::on(&store).await;
    let clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    let mut request = prefix("k", 0);
    request.progress_notify = true;
    stream.create(request).await;
    let mut writer = clients.clone();
    let writing = tokio::spawn(async move {
        let mut last = 0;
        for _ in 0..400 {
            last = writer.put("k", "v").await;
        }
        last
    });
    let mut told = 1;
    let mut reports = 0;
    while told < 401 || reports == 0 {
        stream
            .ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            .await;
        let answer = stream.next().await;
        let named = answer.header.unwrap().revision;
        if answer.events.is_empty() {
            assert_eq!(answer.watch_id, -1);
            assert_eq!(
                named, told,
                "a report names a revision whose events did not come"
            );
            reports += 1;
        }
        for event in answer.events {
            assert_eq!(event.kv.unwrap().mod_revision, told + 1);
            told += 1;
        }
    }
    assert_eq!(writing.await.unwrap(), told);
}

async fn an_idle_watch_hears_of_progress(store: Store) {
    let mut config = store.config();
    config.watch_progress_seconds = 1;
    let served = Served::start_with(config).await;
    let mut clients = served.clients().await;
    let mut stream = Stream::open(&clients).await;
    let mut request = prefix("k", 0);
    request.progress_notify = true;
    stream.create(request).await;
    let revision = clients.put("elsewhere", "v").await;
    let answer = stream.next().await;
    assert!(
        answer.events.is_empty() && answer.watch_id == 0,
        "{answer:?}"
    );
    assert_eq!(answer.header.unwrap().revision, revision);
}

async fn large_answers_come_in_pieces_when_asked_for(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for number in 0..20 {
        clients
            .put(&format!("k{number}"), &"v".repeat(200_000))
            .await;
    }
    let mut stream = Stream::open(&clients).await;
    let mut request = prefix("k", 2);
    request.fragment = true;
    stream.create(request).await;
    let mut told = 0;
    let mut pieces = 0;
    while told < 20 {
        let answer = stream.next().await;
        told += answer.events.len();
        pieces += 1;
        let size: usize = answer
            .events
            .iter()
            .map(|e| e.kv.as_ref().unwrap().value.len())
            .sum();
        assert!(size <= 1536 * 1024, "{size} bytes in one piece");
    }
    assert!(pieces >= 3);
}
