//! Writes: done as acknowledged, refused for the true reason.

use crate::requests::{at, create, delete_at, delete_op, get_op, update};
use crate::support::{self, Clients, Served, delete, get, list, put, revision};
use sextant_proto::etcd::etcdserverpb as pb;
use std::path::Path;
use tonic::Code;

/// Has the database refuse every write while `during` runs.
async fn while_broken<T>(path: &Path, during: impl Future<Output = T>) -> T {
    let database = rusqlite::Connection::open(path).unwrap();
    let trigger =
        "CREATE TRIGGER broken BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'broken'); END";
    database.execute_batch(trigger).unwrap();
    let result = during.await;
    database.execute_batch("DROP TRIGGER broken").unwrap();
    result
}

async fn newest(clients: &mut Clients) -> i64 {
    let answer = clients.kv.range(get("nothing")).await.unwrap();
    revision(answer.into_inner().header)
}

#[tokio::test]
async fn kine_a_create_that_failed_is_not_acknowledged() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut kv = clients.kv.clone();
    let refused = while_broken(&path, kv.txn(create("k", "v")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("broken"), "{refused}");
    assert_eq!(clients.get("k").await, None);
    assert_eq!(newest(&mut clients).await, 1);
    // And it goes on as if nothing had been.
    assert!(
        clients
            .kv
            .txn(create("k", "v"))
            .await
            .unwrap()
            .into_inner()
            .succeeded
    );
    assert_eq!(newest(&mut clients).await, 2);
}

#[tokio::test]
async fn kine_an_update_that_failed_is_no_conflict() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let made = clients.put("k", "old").await;
    for request in [update("k", "new", made), delete_at("k", made)] {
        let mut kv = clients.kv.clone();
        let refused = while_broken(&path, kv.txn(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
    }
    assert_eq!(clients.get("k").await.as_deref(), Some("old"));
    let updated = clients
        .kv
        .txn(update("k", "new", made))
        .await
        .unwrap()
        .into_inner();
    assert!(updated.succeeded);
}

#[tokio::test]
async fn kine_a_read_and_a_deletion_in_one_transaction_delete() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    clients.put("k", "v").await;
    let txn = pb::TxnRequest {
        success: vec![get_op("k"), delete_op("k")],
        ..pb::TxnRequest::default()
    };
    let answer = clients.kv.txn(txn).await.unwrap().into_inner();
    assert_eq!((answer.responses.len(), revision(answer.header)), (2, 3));
    assert_eq!(clients.get("k").await, None);
}

#[tokio::test]
async fn kine_a_deletion_at_revision_0_writes_nothing() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let absent = clients
        .kv
        .txn(delete_at("absent", 0))
        .await
        .unwrap()
        .into_inner();
    assert!(absent.succeeded);
    assert_eq!(
        newest(&mut clients).await,
        1,
        "a tombstone of nothing was written"
    );
    clients.put("k", "v").await;
    let there = clients
        .kv
        .txn(delete_at("k", 0))
        .await
        .unwrap()
        .into_inner();
    assert!(!there.succeeded);
    assert_eq!(clients.get("k").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn kine_120_plain_puts_and_deletions_of_any_key_work() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for value in ["1", "2"] {
        // Not only the key that was written last.
        for key in ["a", "b", "c"] {
            clients.put(key, value).await;
        }
    }
    for key in ["a", "b", "c"] {
        assert_eq!(clients.get(key).await.as_deref(), Some("2"));
    }
    let gone = clients
        .kv
        .delete_range(delete("a"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((gone.deleted, revision(gone.header)), (1, 8));
    assert_eq!(clients.get("a").await, None);
}

#[tokio::test]
async fn kine_versions_count_up_and_begin_anew() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut versions = Vec::new();
    for _ in 0..2 {
        for _ in 0..3 {
            clients.put("compact_rev_key", "7").await;
            let answer = clients.kv.range(get("compact_rev_key")).await.unwrap();
            let kv = answer.into_inner().kvs.remove(0);
            assert_eq!(kv.value, "7");
            versions.push(kv.version);
        }
        clients
            .kv
            .delete_range(delete("compact_rev_key"))
            .await
            .unwrap();
    }
    assert_eq!(versions, [1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn kine_any_bytes_are_a_key_and_a_value() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut keys: Vec<Vec<u8>> = vec![
        b"nul\0".to_vec(),
        b"nul\0inside".to_vec(),
        b"nul".to_vec(),
        b"\xff\xfe not UTF-8".to_vec(),
        "rôle:émis/名".into(),
        vec![b'k'; 2048],
        vec![0],
        vec![0xff],
    ];
    for key in &keys {
        let request = pb::PutRequest {
            key: key.clone().into(),
            value: key.clone().into(),
            ..pb::PutRequest::default()
        };
        clients.kv.put(request).await.unwrap();
    }
    let all = pb::RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..pb::RangeRequest::default()
    };
    let found = clients.kv.range(all).await.unwrap().into_inner().kvs;
    keys.sort();
    assert!(found.iter().all(|kv| kv.key == kv.value));
    let found: Vec<Vec<u8>> = found.into_iter().map(|kv| kv.key.into()).collect();
    assert_eq!(found, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3s_8708_of_concurrent_creates_one_wins_and_none_fails() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let clients = served.clients().await;
    for round in 0..20 {
        let key = format!("k{round}");
        let creates = (0..16).map(|_| {
            let (mut kv, request) = (clients.kv.clone(), create(&key, "v"));
            tokio::spawn(async move { kv.txn(request).await.unwrap().into_inner().succeeded })
        });
        let mut winners = 0;
        for create in creates.collect::<Vec<_>>() {
            winners += usize::from(create.await.unwrap());
        }
        assert_eq!(winners, 1, "{key}");
    }
}

#[tokio::test]
async fn kine_82_revisions_have_no_gaps() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let mut expected = 1;
    for number in 0..20 {
        let key = format!("k{number}");
        clients.kv.txn(create(&key, "v")).await.unwrap();
        expected += 1;
        // Conflicts, refusals and deletions of nothing take no revision.
        clients.kv.txn(create(&key, "v")).await.unwrap();
        clients.kv.txn(update(&key, "v", 1)).await.unwrap();
        clients.kv.put(put("", "v")).await.unwrap_err();
        clients.kv.delete_range(delete("absent")).await.unwrap();
        assert_eq!(newest(&mut clients).await, expected);
    }
    let all = clients.kv.range(list("k")).await.unwrap().into_inner();
    let mut revisions: Vec<i64> = all.kvs.iter().map(|kv| kv.mod_revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=expected).collect::<Vec<_>>());
}

#[tokio::test]
async fn kine_transactions_of_any_shape_are_served() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    clients.put("a", "1").await;
    let txn = pb::TxnRequest {
        compare: vec![at("a", 2), at("b", 0)],
        success: vec![
            crate::requests::put_op("b", "2"),
            delete_op("a"),
            get_op("a"),
            get_op("b"),
        ],
        failure: Vec::new(),
    };
    let answer = clients.kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!((answer.responses.len(), revision(answer.header)), (4, 3));
    assert_eq!(clients.get("b").await.as_deref(), Some("2"));
}
