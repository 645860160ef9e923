//! Reads: of one revision, complete, never older than what was known.

use crate::requests::create;
use crate::support::{self, Clients, Served, get, list, revision};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::mvccpb::KeyValue;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn kine_676_a_late_commit_never_hides_an_older_revision() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let clients = served.clients().await;
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let mut kv = clients.kv.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    let request = create(&format!("k/{writer}/{number}"), "v");
                    kv.txn(request).await.unwrap();
                }
            })
        })
        .collect();
    let mut reader = clients.clone();
    let mut read = async || {
        let answer = reader.kv.range(list("k/")).await.unwrap().into_inner();
        let found: BTreeSet<i64> = answer.kvs.iter().map(|kv| kv.mod_revision).collect();
        let through = revision(answer.header);
        // Nothing is deleted, and each revision makes one key: all of them are there.
        assert_eq!(found, (2..=through).collect::<BTreeSet<_>>());
        through
    };
    while read().await < 801 {}
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn kine_391_an_object_is_there_once_it_is_created() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let (mut one, mut other) = (served.clients().await, served.clients().await);
    for number in 0..200 {
        let key = format!("k{number}");
        let made = one.kv.txn(create(&key, "v")).await.unwrap().into_inner();
        let read = other.kv.range(get(&key)).await.unwrap().into_inner();
        assert_eq!(read.kvs.len(), 1, "{key}");
        assert!(revision(read.header) >= revision(made.header));
    }
}

#[tokio::test]
async fn kine_an_empty_read_names_the_newest_revision() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let (mut one, mut other) = (served.clients().await, served.clients().await);
    for number in 0..50 {
        let made = one.put("k", &number.to_string()).await;
        // As an API server asks for the current resource version.
        let read = other
            .kv
            .range(get("registry/pods"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(revision(read.header), made);
    }
}

#[tokio::test]
async fn kine_231_compacted_and_future_revisions_are_refused() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for number in 0..9 {
        clients.put("k", &number.to_string()).await;
    }
    let compaction = pb::CompactionRequest {
        revision: 5,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    for (revision, text) in [(4, "has been compacted"), (11, "is a future revision")] {
        let at = pb::RangeRequest {
            revision,
            ..list("k")
        };
        let refused = clients.kv.range(at.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        assert!(refused.message().ends_with(text), "{refused}");
        let mut stream = clients.kv.range_stream(at).await.unwrap().into_inner();
        let refused = stream.message().await.unwrap_err();
        assert!(refused.message().ends_with(text), "{refused}");
    }
    let at = pb::RangeRequest {
        revision: 5,
        ..get("k")
    };
    let kept = clients.kv.range(at).await.unwrap().into_inner();
    assert_eq!(kept.kvs[0].value, "3");
}

/// A streamed range put together, with the revision, count and `more` of its last piece.
async fn stream(clients: &mut Clients, limit: i64) -> (Vec<KeyValue>, i64, i64, bool) {
    let request = pb::RangeRequest { limit, ..list("k") };
    let mut pieces = clients.kv.range_stream(request).await.unwrap().into_inner();
    let mut kvs = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        let piece = piece.range_response.unwrap();
        kvs.extend(piece.kvs);
        if let Some(header) = piece.header {
            assert_eq!(
                pieces.message().await.unwrap(),
                None,
                "the header comes last"
            );
            return (kvs, header.revision, piece.count, piece.more);
        }
    }
    panic!("no header after {} keys", kvs.len());
}

#[tokio::test]
async fn kine_a_limited_range_stream_gives_its_limit_and_no_more() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    const KEYS: i64 = 73;
    for number in 0..KEYS {
        clients.put(&format!("k{number:02}"), "v").await;
    }
    // Pieces begin with 10 keys and double: their edges are at 10, 30 and 70.
    for limit in [1, 9, 10, 11, 29, 30, 31, 69, 70, 71, 72, 73, 74, 1000] {
        let (kvs, revision, count, more) = stream(&mut clients, limit).await;
        let given = i64::try_from(kvs.len()).unwrap();
        assert_eq!(
            (given, more),
            (limit.min(KEYS), limit < KEYS),
            "limit {limit}"
        );
        assert_eq!((count, revision), (KEYS, KEYS + 1), "limit {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kine_a_limited_range_stream_names_the_revision_of_its_data() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for number in 0..40 {
        clients.put(&format!("k{number:02}"), "v").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut writer) = (Arc::clone(&stop), served.clients().await);
    let writing = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            writer.put("k20", "w").await;
        }
    });
    for _ in 0..200 {
        let (kvs, named, _, _) = stream(&mut clients, 35).await;
        // After revision 41 that key alone is written: it tells of which revision the data is.
        let expected = if named == 41 { 22 } else { named };
        assert_eq!(kvs[20].mod_revision, expected);
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
}

#[tokio::test]
async fn k8s_dqlite_keys_alone_can_be_listed() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    clients.put("k1", "v").await;
    clients.put("k2", "v").await;
    let keys = pb::RangeRequest {
        keys_only: true,
        ..list("k")
    };
    let keys = clients.kv.range(keys).await.unwrap().into_inner();
    let named: Vec<_> = keys
        .kvs
        .iter()
        .map(|kv| (&kv.key[..], kv.value.len()))
        .collect();
    assert_eq!(named, [(&b"k1"[..], 0), (b"k2", 0)]);
}
