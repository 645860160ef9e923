//! What operators ask: snapshots, checksums, space, alarms.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use aws_lc_rs::digest::{SHA256, digest};
use datastore_proxy::config::Config;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use sextant_testkit::eventually;
use std::time::Duration;
use support::database::Server;
use support::{Clients, Served, Store, delete, list, put, revision};
use tonic::Code;

support::on_each_backend! {
    a_snapshot_made_under_writes_is_a_store_of_one_moment,
    a_store_that_is_called_corrupt_is_only_read,
    over_the_quota_nothing_is_added_until_somebody_says_so,
}

mod servers {
    use super::a_server_gives_space_back_when_asked;
    crate::support::database::on_each_server! {
        a_server_gives_space_back_when_asked,
    }
}

/// The bytes of a snapshot without its checksum, which was compared.
async fn snapshot(clients: &mut Clients) -> Vec<u8> {
    let request = pb::SnapshotRequest {};
    let mut pieces = clients
        .maintenance
        .snapshot(request)
        .await
        .unwrap()
        .into_inner();
    let mut whole = Vec::new();
    let mut left = None;
    while let Some(piece) = pieces.message().await.unwrap() {
        assert_eq!(piece.version, "3.7.0");
        assert!(
            left.is_none_or(|left| piece.remaining_bytes <= left),
            "{left:?}"
        );
        left = Some(piece.remaining_bytes);
        whole.extend_from_slice(&piece.blob);
    }
    assert_eq!(left, Some(0));
    let checksum = whole.split_off(whole.len() - 32);
    assert_eq!(digest(&SHA256, &whole).as_ref(), checksum);
    whole
}

async fn hash(clients: &mut Clients, revision: i64) -> pb::HashKvResponse {
    let request = pb::HashKvRequest { revision };
    clients
        .maintenance
        .hash_kv(request)
        .await
        .unwrap()
        .into_inner()
}

async fn alarm(
    clients: &mut Clients,
    action: AlarmAction,
    alarm: pb::AlarmType,
) -> Vec<pb::AlarmType> {
    let request = pb::AlarmRequest {
        action: action.into(),
        member_id: 0,
        alarm: alarm.into(),
    };
    let answer = clients
        .maintenance
        .alarm(request)
        .await
        .unwrap()
        .into_inner();
    answer.alarms.iter().map(pb::AlarmMember::alarm).collect()
}

async fn a_snapshot_made_under_writes_is_a_store_of_one_moment(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    for number in 0..200 {
        clients.put(&format!("k{number}"), &"v".repeat(2000)).await;
    }
    let mut writer = clients.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut last = 0;
        while stopped.try_recv().is_err() {
            last = writer.put("busy", &last.to_string()).await;
        }
        last
    });
    let bytes = snapshot(&mut clients).await;
    stop.send(()).unwrap();
    assert!(writing.await.unwrap() > 201, "the writer was held up");
    served.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::write(&copy, bytes).unwrap();
    let served = Served::start(&copy).await;
    let mut clients = served.clients().await;
    let all = clients.kv.range(list("k")).await.unwrap().into_inner();
    assert_eq!(all.count, 200);
    // What the busy key holds was written at the revision that the store has.
    let newest = revision(all.header);
    assert_eq!(
        clients.get("busy").await,
        (newest > 201).then(|| match newest {
            202 => "0".to_owned(),
            newest => (newest - 1).to_string(),
        })
    );
    served.stop().await;
    if let Store::Sqlite(folder, _) = &store {
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".copy-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_checksum_tells_stores_apart_and_survives_compaction() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    clients.put("a", "1").await;
    clients.put("a", "2").await;
    clients.put("b", "1").await;
    clients.kv.delete_range(delete("b")).await.unwrap();
    let before = hash(&mut clients, 0).await;
    assert_eq!((before.hash_revision, before.compact_revision), (5, -1));
    assert_ne!(hash(&mut clients, 4).await.hash, before.hash);
    let future = pb::HashKvRequest { revision: 6 };
    let refused = clients.maintenance.hash_kv(future).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);

    clients.put("c", "1").await;
    assert_eq!(hash(&mut clients, 5).await.hash, before.hash);
    let compact = pb::CompactionRequest {
        revision: 4,
        physical: false,
    };
    clients.kv.compact(compact).await.unwrap();
    let logical = hash(&mut clients, 6).await;
    assert_eq!((logical.hash_revision, logical.compact_revision), (6, 4));
    let compact = pb::CompactionRequest {
        revision: 5,
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();
    let physical = hash(&mut clients, 6).await;
    served.stop().await;
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    assert_eq!(hash(&mut clients, 6).await.hash, physical.hash);
    let past = pb::HashKvRequest { revision: 3 };
    let refused = clients.maintenance.hash_kv(past).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: required revision has been compacted"
    );
    served.stop().await;
}

#[tokio::test]
async fn defragmentation_gives_all_free_space_back() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    for number in 0..300 {
        clients
            .put(&format!("k{number}"), &"v".repeat(10_000))
            .await;
    }
    let last = clients.put("kept", "v").await;
    clients
        .kv
        .delete_range(support::delete_prefix("k"))
        .await
        .unwrap();
    let compact = pb::CompactionRequest {
        revision: last + 1,
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();
    let free = |status: &pb::StatusResponse| status.db_size - status.db_size_in_use;
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(free(&status) > 2_000_000, "{status:?}");
    clients
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await
        .unwrap();
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(free(&status), 0);
    served.stop().await;
}

/// What is free isn't counted as used once the database has looked.
async fn a_server_gives_space_back_when_asked(server: Server) {
    let served = Served::start_with(support::replica(&server.endpoint("plane"))).await;
    let mut clients = served.clients().await;
    for number in 0..300 {
        let value: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
        let request = pb::PutRequest {
            value: value.into(),
            ..put(&format!("k{number}"), "")
        };
        clients.kv.put(request).await.unwrap();
    }
    let all = support::delete_prefix("k");
    let deleted = clients.kv.delete_range(all).await.unwrap().into_inner();
    let compact = pb::CompactionRequest {
        revision: revision(deleted.header),
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();
    eventually(Duration::from_secs(60), "the space is free", || {
        let mut clients = clients.clone();
        async move {
            let asked = clients.maintenance.defragment(pb::DefragmentRequest {});
            asked.await.unwrap();
            let status = clients.maintenance.status(pb::StatusRequest {});
            let used = status.await.unwrap().into_inner().db_size_in_use;
            if used < 1_000_000 { Ok(()) } else { Err(used) }
        }
    })
    .await;
    served.stop().await;
}

async fn over_the_quota_nothing_is_added_until_somebody_says_so(store: Store) {
    let config = |quota_bytes| Config {
        quota_bytes,
        ..store.config()
    };
    let served = Served::start_with(config(1 << 20)).await;
    // Where there may be another replica it is the one that doesn't write.
    let other = match &store {
        Store::Server(_) => Some(Served::start_with(config(1 << 20)).await),
        Store::Sqlite(..) => None,
    };
    let asked = other.as_ref().unwrap_or(&served);
    let mut clients = asked.clients().await;
    let mut stored = 0;
    let refused = loop {
        // Nothing that a database could make smaller.
        let value: Vec<u8> = (0..50_000).map(|_| rand::random()).collect();
        let request = pb::PutRequest {
            value: value.into(),
            ..put(&format!("k{stored}"), "")
        };
        match clients.kv.put(request).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
        assert!(stored < 100, "the quota is not kept");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: database space exceeded"
    );
    let none = pb::AlarmType::None;
    let nospace = pb::AlarmType::Nospace;
    assert_eq!(alarm(&mut clients, AlarmAction::Get, none).await, [nospace]);
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.db_size_quota, 1 << 20);
    assert!(
        status.errors[0].ends_with("alarm:NOSPACE"),
        "{:?}",
        status.errors
    );

    // Raised is raised, also after a restart, for whatever adds something.
    if let Some(other) = other {
        other.stop().await;
    }
    served.stop().await;
    let served = Served::start_with(config(64 << 20)).await;
    let mut clients = served.clients().await;
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
    let refused = clients.lease.lease_grant(grant).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: database space exceeded"
    );
    let op = pb::request_op::Request::RequestPut(put("small", ""));
    let txn = pb::TxnRequest {
        failure: vec![pb::RequestOp { request: Some(op) }],
        ..pb::TxnRequest::default()
    };
    clients.kv.txn(txn).await.unwrap_err();
    let deleted = clients
        .kv
        .delete_range(delete("k0"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.deleted, 1);
    let compact = pb::CompactionRequest {
        revision: revision(deleted.header),
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();

    assert_eq!(
        alarm(&mut clients, AlarmAction::Deactivate, nospace).await,
        [nospace]
    );
    assert!(alarm(&mut clients, AlarmAction::Get, none).await.is_empty());
    clients.put("small", "").await;
    served.stop().await;
}

async fn a_store_that_is_called_corrupt_is_only_read(store: Store) {
    let served = Served::on(&store).await;
    let mut clients = served.clients().await;
    clients.put("a", "1").await;
    let corrupt = pb::AlarmType::Corrupt;
    alarm(&mut clients, AlarmAction::Activate, corrupt).await;
    let refused = clients.kv.delete_range(delete("a")).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
    assert_eq!(clients.get("a").await.as_deref(), Some("1"));
    alarm(&mut clients, AlarmAction::Deactivate, corrupt).await;
    clients.put("a", "2").await;
    served.stop().await;
}
