//! Over plaintext on loopback: sizes, restarts, leases, the lock.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use datastore_proxy::app::Bound;
use sextant_kit::Context;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::time::Duration;
use support::{Served, Store, delete, get, list, put, revision};
use tonic::Code;

support::on_each_backend! {
    what_was_acknowledged_is_there_after_a_restart,
    an_empty_answer_names_the_newest_revision,
    large_requests_are_refused_as_etcd_does,
    a_long_list_comes_whole_and_in_pieces,
    a_compaction_is_physical_when_it_says_so,
    an_expired_lease_takes_its_keys_along_also_over_a_restart,
    a_kept_lease_lives_on,
}

async fn what_was_acknowledged_is_there_after_a_restart(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    assert_eq!(clients.put("a", "1").await, 2);
    assert_eq!(clients.put("b", "2").await, 3);
    clients.kv.delete_range(delete("a")).await.unwrap();
    served.stop().await;

    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    assert_eq!(clients.get("a").await, None);
    assert_eq!(clients.get("b").await.as_deref(), Some("2"));
    let old = pb::RangeRequest {
        revision: 2,
        ..get("a")
    };
    assert_eq!(
        clients.kv.range(old).await.unwrap().into_inner().kvs.len(),
        1
    );
    assert_eq!(clients.put("c", "3").await, 5);
    served.stop().await;
}

async fn an_empty_answer_names_the_newest_revision(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    assert_eq!(
        revision(
            clients
                .kv
                .range(get("x"))
                .await
                .unwrap()
                .into_inner()
                .header
        ),
        1
    );
    clients.put("a", "1").await;
    assert_eq!(
        revision(
            clients
                .kv
                .range(get("x"))
                .await
                .unwrap()
                .into_inner()
                .header
        ),
        2
    );
}

async fn large_requests_are_refused_as_etcd_does(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    clients
        .kv
        .put(put("a", &"x".repeat(1_500_000)))
        .await
        .unwrap();
    let refused = clients
        .kv
        .put(put("a", &"x".repeat(1_600_000)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "etcdserver: request is too large");
    clients
        .kv
        .put(put("a", &"x".repeat(3_000_000)))
        .await
        .unwrap_err();
    assert_eq!(
        clients.get("a").await.map(|value| value.len()),
        Some(1_500_000)
    );
}

async fn a_long_list_comes_whole_and_in_pieces(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for number in 0..300 {
        clients
            .put(&format!("/k/{number:04}"), &"v".repeat(20_000))
            .await;
    }
    let whole = clients.kv.range(list("/k/")).await.unwrap().into_inner();
    assert_eq!(
        (whole.kvs.len(), whole.count, whole.more),
        (300, 300, false)
    );
    let page = pb::RangeRequest {
        limit: 100,
        ..list("/k/")
    };
    let page = clients.kv.range(page).await.unwrap().into_inner();
    assert_eq!((page.kvs.len(), page.count, page.more), (100, 300, true));

    let request = pb::RangeRequest {
        limit: 299,
        ..list("/k/")
    };
    let mut stream = clients.kv.range_stream(request).await.unwrap().into_inner();
    let mut kvs = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = stream.message().await.unwrap() {
        if pieces == 0 {
            // The stream is of one revision, whatever happens meanwhile.
            clients.put("/k/0298", "new").await;
            clients.kv.delete_range(delete("/k/0299")).await.unwrap();
        }
        pieces += 1;
        let piece = piece.range_response.unwrap();
        kvs.extend(piece.kvs);
        if let Some(header) = piece.header {
            assert_eq!((header.revision, piece.count, piece.more), (301, 300, true));
        }
    }
    assert!(pieces > 3, "{pieces} pieces");
    assert_eq!(kvs, whole.kvs[..299]);
}

async fn a_compaction_is_physical_when_it_says_so(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for number in 0..2000 {
        clients.put("k", &number.to_string()).await;
    }
    let compaction = pb::CompactionRequest {
        revision: 2001,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    served.stop().await;
    assert_eq!(store.rows().await, 1);
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    assert_eq!(clients.get("k").await.as_deref(), Some("1999"));
    let old = pb::RangeRequest {
        revision: 2000,
        ..get("k")
    };
    let gone = clients.kv.range(old).await.unwrap_err();
    assert_eq!(gone.code(), Code::OutOfRange);
    assert_eq!(
        gone.message(),
        "etcdserver: mvcc: required revision has been compacted"
    );
}

async fn an_expired_lease_takes_its_keys_along_also_over_a_restart(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    let grant = pb::LeaseGrantRequest { ttl: 2, id: 0 };
    let id = clients
        .lease
        .lease_grant(grant)
        .await
        .unwrap()
        .into_inner()
        .id;
    let long = pb::LeaseGrantRequest { ttl: 1000, id: 77 };
    clients.lease.lease_grant(long).await.unwrap();
    for (key, lease) in [("short-1", id), ("short-2", id), ("long", 77)] {
        let request = pb::PutRequest {
            lease,
            ..put(key, "v")
        };
        clients.kv.put(request).await.unwrap();
    }
    served.stop().await;

    let served = Served::on(&store).await;
    let clients = served.clients().await;
    eventually(Duration::from_secs(10), "the leased keys are gone", || {
        let mut clients = clients.clone();
        async move {
            let keys = clients.kv.range(list("short")).await.unwrap().into_inner();
            (keys.count == 0)
                .then_some(())
                .ok_or(format!("{} keys", keys.count))
        }
    })
    .await;
    let mut clients = served.clients().await;
    // Both were deleted in one revision.
    assert_eq!(
        revision(
            clients
                .kv
                .range(get("x"))
                .await
                .unwrap()
                .into_inner()
                .header
        ),
        5
    );
    assert_eq!(clients.get("long").await.as_deref(), Some("v"));
    let ask = pb::LeaseTimeToLiveRequest { id: 77, keys: true };
    let left = clients
        .lease
        .lease_time_to_live(ask)
        .await
        .unwrap()
        .into_inner();
    assert!((900..=1000).contains(&left.ttl), "{left:?}");
    assert_eq!((left.granted_ttl, left.keys), (1000, vec!["long".into()]));
}

async fn a_kept_lease_lives_on(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    clients
        .lease
        .lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 5 })
        .await
        .unwrap();
    let requests = tokio_stream::iter([5, 6].map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = clients
        .lease
        .lease_keep_alive(requests)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 100);
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 0);
}

#[tokio::test]
async fn a_second_process_waits_for_the_file_and_says_so() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let (ctx, _trigger) = Context::new();
    let second = tokio::spawn(Bound::bind(support::config(&path), ctx.clone()));
    eventually(
        Duration::from_secs(10),
        "it says what it waits for",
        || async {
            let waiting = format!("{:?}", ctx.readiness.waiting());
            waiting
                .contains("held by another process")
                .then_some(())
                .ok_or(waiting)
        },
    )
    .await;
    served.stop().await;
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn plaintext_is_for_loopback_alone() {
    let (_folder, path) = support::store();
    let mut config = support::config(&path);
    config.listen = ([0, 0, 0, 0], 0).into();
    let error = Bound::bind(config, Context::new().0).await.err().unwrap();
    assert!(error.to_string().contains("loopback"), "{error}");
}
