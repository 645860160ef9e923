//! Leases: with ids of their own, and deadlines that survive.

use crate::support::{self, Clients, Served, get, list, put};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::time::{Duration, Instant};

async fn grant(clients: &mut Clients, ttl: i64) -> i64 {
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let granted = clients.lease.lease_grant(request).await.unwrap();
    granted.into_inner().id
}

async fn put_leased(clients: &mut Clients, key: &str, lease: i64) {
    let request = pb::PutRequest {
        lease,
        ..put(key, "v")
    };
    clients.kv.put(request).await.unwrap();
}

async fn left(clients: &mut Clients, id: i64) -> i64 {
    let request = pb::LeaseTimeToLiveRequest { id, keys: false };
    let left = clients.lease.lease_time_to_live(request).await.unwrap();
    left.into_inner().ttl
}

async fn is_gone(clients: &Clients, key: &str) {
    eventually(
        Duration::from_secs(20),
        "the key ends with its lease",
        || {
            let mut kv = clients.kv.clone();
            async move {
                let found = kv.range(get(key)).await.unwrap().into_inner().kvs;
                if found.is_empty() { Ok(()) } else { Err(found) }
            }
        },
    )
    .await;
}

#[tokio::test]
async fn kine_581_a_restart_gives_a_lease_no_more_time() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let granted = Instant::now();
    let id = grant(&mut clients, 100).await;
    eventually(Duration::from_secs(10), "time passes", || {
        let mut clients = clients.clone();
        async move {
            match left(&mut clients, id).await {
                ..98 => Ok(()),
                left => Err(left),
            }
        }
    })
    .await;
    served.stop().await;
    let served = Served::start(&path).await;
    let left = left(&mut served.clients().await, id).await;
    let passed = i64::try_from(granted.elapsed().as_secs()).unwrap();
    assert!(
        (99 - passed - 1..98).contains(&left),
        "{left} s left after {passed} s"
    );
}

#[tokio::test]
async fn kine_311_a_lease_ends_after_a_compaction() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let id = grant(&mut clients, 2).await;
    put_leased(&mut clients, "leased", id).await;
    let newest = clients.put("other", "v").await;
    let compaction = pb::CompactionRequest {
        revision: newest,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    is_gone(&clients, "leased").await;
    assert_eq!(clients.get("other").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn kine_386_leases_of_one_ttl_are_not_one_lease() {
    let (_folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let (one, other) = (
        grant(&mut clients, 600).await,
        grant(&mut clients, 600).await,
    );
    assert_ne!(one, other);
    put_leased(&mut clients, "k/1", one).await;
    put_leased(&mut clients, "k/2", other).await;
    let kept = tokio_stream::once(pb::LeaseKeepAliveRequest { id: other });
    let kept = clients.lease.lease_keep_alive(kept).await.unwrap();
    assert_eq!(kept.into_inner().message().await.unwrap().unwrap().ttl, 600);
    let revoke = pb::LeaseRevokeRequest { id: one };
    clients.lease.lease_revoke(revoke).await.unwrap();
    let found = clients.kv.range(list("k/")).await.unwrap().into_inner().kvs;
    let found: Vec<_> = found.iter().map(|kv| (&kv.key[..], kv.lease)).collect();
    assert_eq!(found, [(&b"k/2"[..], other)]);
    let leases = clients
        .lease
        .lease_leases(pb::LeaseLeasesRequest {})
        .await
        .unwrap();
    let leases: Vec<i64> = leases
        .into_inner()
        .leases
        .iter()
        .map(|lease| lease.id)
        .collect();
    assert_eq!(leases, [other]);
}
