//! Many watches of clients, few of the etcd.

use crate::etcd::{self, Etcd, connections, plane};
use crate::stream::{Stream, prefix};
use crate::support::{Clients, revision};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::collections::BTreeMap;
use std::time::Duration;

const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
const STREAMS: &str = "etcd_debugging_mvcc_watch_stream_total";
/// The plane's keys and its compaction, on one stream.
const FEED: f64 = 2.0;

/// Waits until the etcd has no more watches than the feed's.
async fn only_the_feed(etcd: &Etcd) {
    eventually(
        Duration::from_secs(30),
        "the watches have merged",
        || async {
            let watchers = etcd.metric(WATCHERS).await;
            let streams = etcd.metric(STREAMS).await;
            if watchers <= FEED && streams <= 1.0 {
                Ok(())
            } else {
                Err(format!("{watchers} watches on {streams} streams"))
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watches_share_one_stream() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let mut direct = Clients::connect(&etcd.url()).await;
    // What lies before the start is not in memory.
    let mut written: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let first = direct.put("/a//x/0", "v").await;
    written.entry("/x/0".to_owned()).or_default().push(first);
    let served = plane(&etcd, "/a").await;
    let mut streams = Vec::new();
    for (at, channel) in connections(&served, 30).await.into_iter().enumerate() {
        let clients = Clients::over(channel);
        // Equal, contained and disjoint ranges; from now on, and from the past on.
        let ranges: Vec<String> = (0..34)
            .map(|number| match number % 3 {
                0 => "/x/".to_owned(),
                1 => format!("/x/{}", number % 7),
                _ => format!("/y/{at}"),
            })
            .collect();
        let mut stream = Stream::open(&clients, prefix(&ranges[0], first)).await;
        let told = stream.until(first).await;
        assert_eq!(told, [("/x/0".to_owned(), first)]);
        for range in &ranges[1..] {
            stream.create(prefix(range, 0)).await;
        }
        streams.push(stream);
    }
    only_the_feed(&etcd).await;
    let mut clients = served.clients().await;
    let mut last = 0;
    for number in 0..50 {
        let key = format!("/x/{}", number % 7);
        last = clients.put(&key, "v").await;
        written.entry(key).or_default().push(last);
    }
    let expected: Vec<i64> = {
        let mut all: Vec<i64> = written.into_values().flatten().collect();
        all.sort_unstable();
        all.split_off(1)
    };
    for stream in &mut streams {
        // One watch of this stream after the other is told of all that concerns it, each in order.
        let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        while told.get(&0) != Some(&expected)
            || told.values().map(Vec::len).sum::<usize>() < total()
        {
            let answer = stream.next().await.unwrap();
            let of = told.entry(answer.watch_id).or_default();
            of.extend(
                answer
                    .events
                    .iter()
                    .map(|event| event.kv.as_ref().unwrap().mod_revision),
            );
        }
        assert_eq!(told.values().map(Vec::len).sum::<usize>(), total());
        assert!(told.values().all(|told| told.is_sorted()));
        assert!(stream.progress().await >= last);
    }
    only_the_feed(&etcd).await;
    served.stop().await;
}

/// Events of 50 writes to seven keys in turn, for the watches of one stream.
fn total() -> usize {
    let of_key = |key: usize| (0..50).filter(|number| number % 7 == key).count();
    (0..34)
        .map(|number: usize| match number % 3 {
            0 => 50,
            1 => of_key(number % 7),
            _ => 0,
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_reaches_what_was_written_elsewhere() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let served = plane(&etcd, "/a").await;
    let clients = served.clients().await;
    let mut stream = Stream::open(&clients, prefix("/x/", 0)).await;
    let mut direct = Clients::connect(&etcd.url()).await;
    for _ in 0..20 {
        // Nothing of this plane, so no event tells how far the etcd is.
        let newest = direct.put("/elsewhere", "v").await;
        assert!(stream.progress().await >= newest);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_ids_and_previous_values_are_each_watchs_own() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let served = plane(&etcd, "/a").await;
    let mut clients = served.clients().await;
    let created = clients.put("k", "1").await;
    let plain = pb::WatchCreateRequest {
        prev_kv: false,
        ..prefix("k", 0)
    };
    let filter = pb::watch_create_request::FilterType::Noput;
    let deletions = pb::WatchCreateRequest {
        watch_id: 42,
        filters: vec![filter.into()],
        ..prefix("k", 0)
    };
    let mut plain = Stream::open(&clients, plain).await;
    let mut deletions = Stream::open(&clients, deletions).await;
    clients.put("k", "2").await;
    let deleted = clients
        .kv
        .delete_range(crate::support::delete("k"))
        .await
        .unwrap();
    let deleted = revision(deleted.into_inner().header);
    let put = plain.next().await.unwrap();
    assert!(put.events[0].prev_kv.is_none());
    let answer = deletions.next().await.unwrap();
    assert_eq!(answer.watch_id, 42);
    let event = &answer.events[0];
    assert_eq!(event.kv.as_ref().unwrap().mod_revision, deleted);
    let before = event.prev_kv.as_ref().unwrap();
    assert_eq!(
        (before.key.as_ref(), before.value.as_ref()),
        (b"k".as_slice(), b"2".as_slice())
    );
    assert_eq!((before.create_revision, before.version), (created, 2));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_told_to_resume() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let served = plane(&etcd, "/a").await;
    let mut clients = served.clients().await;
    let [lazy] = connections(&served, 1).await.try_into().unwrap();
    let mut lazy = Stream::open(&Clients::over(lazy), prefix("k", 0)).await;
    let mut prompt = Stream::open(&clients, prefix("k", 0)).await;
    // More than the window of a connection and the queues hold.
    let value = "v".repeat(1 << 20);
    let mut last = 0;
    for number in 0..40 {
        last = clients.put(&format!("k{number}"), &value).await;
    }
    assert_eq!(prompt.until(last).await.len(), 40);
    let text = "sextant_datastore_watchers 1";
    eventually(Duration::from_secs(60), "the watch has ended", || async {
        let metrics = served.ctx.metrics.encode().unwrap();
        if metrics.contains(text) {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
    let ended = loop {
        match lazy.next().await {
            Ok(answer) => assert!(!answer.canceled),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), tonic::Code::Unavailable);
    assert!(ended.message().contains("watch again"), "{ended}");
    served.stop().await;
}
