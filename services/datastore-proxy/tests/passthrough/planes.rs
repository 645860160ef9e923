//! Several planes on one etcd.

use crate::etcd::{self, Etcd, plane};
use crate::stream::{Stream, prefix};
use crate::support::{Clients, get, list, revision};
use datastore_proxy::app::Bound;
use sextant_kit::Context;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::time::Duration;
use tonic::Code;

fn everything() -> pb::RangeRequest {
    pb::RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..pb::RangeRequest::default()
    }
}

async fn keys(clients: &mut Clients, request: pb::RangeRequest) -> Vec<String> {
    let answer = clients.kv.range(request).await.unwrap().into_inner();
    let keys = answer.kvs.iter();
    let keys: Vec<_> = keys
        .map(|kv| String::from_utf8_lossy(&kv.key).into_owned())
        .collect();
    assert_eq!(answer.count, i64::try_from(keys.len()).unwrap());
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_do_not_see_each_other() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let (one, two) = (plane(&etcd, "/a").await, plane(&etcd, "/ab").await);
    let (mut one_clients, mut two_clients) = (one.clients().await, two.clients().await);
    let everywhere = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..pb::WatchCreateRequest::default()
    };
    let mut watch = Stream::open(&one_clients, everywhere).await;
    two_clients.put("/registry/x", "two").await;
    two_clients.put("compact_rev_key", "2").await;
    one_clients.put("/registry/x", "one").await;
    let last = one_clients.put("compact_rev_key", "1").await;

    let both = ["/registry/x", "compact_rev_key"];
    assert_eq!(keys(&mut one_clients, everything()).await, both);
    assert_eq!(keys(&mut two_clients, everything()).await, both);
    assert_eq!(one_clients.get("/registry/x").await.unwrap(), "one");
    let seen: Vec<_> = watch.until(last).await.into_iter().map(|e| e.0).collect();
    assert_eq!(seen, both);

    // Every key, also the ones that planes agree by, as etcd has them.
    let mut direct = Clients::connect(&etcd.url()).await;
    assert_eq!(direct.get("/a//registry/x").await.unwrap(), "one");
    assert_eq!(direct.get("/ab/compact_rev_key").await.unwrap(), "2");
    let delete = pb::DeleteRangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..pb::DeleteRangeRequest::default()
    };
    let deleted = one_clients.kv.delete_range(delete).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 2);
    assert_eq!(keys(&mut two_clients, everything()).await, both);
    assert_eq!(
        keys(&mut direct, list("/sextant-planes/compacted/"))
            .await
            .len(),
        2
    );
    one.stop().await;
    two.stop().await;
}

async fn grant(clients: &mut Clients, id: i64) -> i64 {
    let request = pb::LeaseGrantRequest { ttl: 600, id };
    clients
        .lease
        .lease_grant(request)
        .await
        .unwrap()
        .into_inner()
        .id
}

async fn leases(clients: &mut Clients) -> Vec<i64> {
    let request = pb::LeaseLeasesRequest {};
    let answer = clients.lease.lease_leases(request).await.unwrap();
    answer
        .into_inner()
        .leases
        .iter()
        .map(|lease| lease.id)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_of_one_plane() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let (one, two) = (plane(&etcd, "/a").await, plane(&etcd, "/b").await);
    let (mut one_clients, mut two_clients) = (one.clients().await, two.clients().await);
    let lease = grant(&mut one_clients, 0).await;
    assert_eq!(leases(&mut one_clients).await, [lease]);
    assert!(leases(&mut two_clients).await.is_empty());

    let put = pb::PutRequest {
        lease,
        ..crate::support::put("k", "v")
    };
    let denied = two_clients.kv.put(put.clone()).await.unwrap_err();
    assert_eq!(denied.message(), "etcdserver: requested lease not found");
    let revoke = pb::LeaseRevokeRequest { id: lease };
    let denied = two_clients.lease.lease_revoke(revoke).await.unwrap_err();
    assert_eq!(denied.code(), Code::NotFound);
    let ask = pb::LeaseTimeToLiveRequest {
        id: lease,
        keys: true,
    };
    let foreign = two_clients.lease.lease_time_to_live(ask).await.unwrap();
    assert_eq!(foreign.into_inner().ttl, -1);

    one_clients.kv.put(put).await.unwrap();
    // Whose a lease is outlives the process that wrote it down.
    one.stop().await;
    let one = plane(&etcd, "/a").await;
    let mut one_clients = one.clients().await;
    let own = one_clients
        .lease
        .lease_time_to_live(ask)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(own.keys, ["k"]);
    let renewal = tokio_stream::once(pb::LeaseKeepAliveRequest { id: lease });
    let mut renewed = one_clients
        .lease
        .lease_keep_alive(renewal)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(renewed.message().await.unwrap().unwrap().ttl, 600);
    one_clients.lease.lease_revoke(revoke).await.unwrap();
    assert_eq!(one_clients.get("k").await, None);
    let mut direct = Clients::connect(&etcd.url()).await;
    assert!(
        keys(&mut direct, list("/sextant-planes/leases/"))
            .await
            .is_empty()
    );
    one.stop().await;
    two.stop().await;
}

async fn compact(clients: &mut Clients, revision: i64) -> Result<(), tonic::Status> {
    let request = pb::CompactionRequest {
        revision,
        physical: true,
    };
    clients.kv.compact(request).await.map(drop)
}

async fn read_at(clients: &mut Clients, revision: i64) -> Result<String, String> {
    let request = pb::RangeRequest {
        revision,
        ..get("k")
    };
    let answer = clients.kv.range(request).await;
    let answer = answer
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    Ok(String::from_utf8_lossy(&answer.kvs[0].value).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_compacts_for_itself() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let (one, two) = (plane(&etcd, "/a").await, plane(&etcd, "/b").await);
    let replica = plane(&etcd, "/a").await;
    let (mut one_clients, mut two_clients) = (one.clients().await, two.clients().await);
    let mut replica_clients = replica.clients().await;
    let mut direct = Clients::connect(&etcd.url()).await;
    let one_old = one_clients.put("k", "old").await;
    let two_old = two_clients.put("k", "old").await;
    let one_new = one_clients.put("k", "new").await;
    let two_new = two_clients.put("k", "new").await;

    let forgotten = "etcdserver: mvcc: required revision has been compacted".to_owned();
    compact(&mut one_clients, one_new).await.unwrap();
    assert_eq!(
        read_at(&mut one_clients, one_old).await,
        Err(forgotten.clone())
    );
    assert_eq!(
        read_at(&mut one_clients, one_new).await,
        Ok("new".to_owned())
    );
    assert_eq!(
        read_at(&mut two_clients, two_old).await,
        Ok("old".to_owned())
    );
    let again = compact(&mut one_clients, one_new).await.unwrap_err();
    assert_eq!(again.message(), forgotten);
    let future = compact(&mut one_clients, two_new + 1000).await.unwrap_err();
    assert_eq!(
        future.message(),
        "etcdserver: mvcc: required revision is a future revision"
    );

    // A transaction is refused only if it gets to the forgotten read, and then it has no effect.
    let read = pb::RangeRequest {
        revision: one_old,
        ..get("k")
    };
    let op = |request| pb::RequestOp {
        request: Some(request),
    };
    use pb::request_op::Request;
    let mut txn = pb::TxnRequest {
        compare: Vec::new(),
        success: vec![
            op(Request::RequestPut(crate::support::put("other", "v"))),
            op(Request::RequestRange(read)),
        ],
        failure: Vec::new(),
    };
    let refused = one_clients.kv.txn(txn.clone()).await.unwrap_err();
    assert_eq!(refused.message(), forgotten);
    assert_eq!(one_clients.get("other").await, None);
    std::mem::swap(&mut txn.success, &mut txn.failure);
    one_clients.kv.txn(txn).await.unwrap();

    // So is a watch, also at another replica, which hears of it.
    eventually(Duration::from_secs(10), "the replica hears of it", || {
        let mut clients = replica_clients.clone();
        let forgotten = forgotten.clone();
        async move {
            match read_at(&mut clients, one_old).await {
                Err(text) if text == forgotten => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
    })
    .await;
    let mut watch = Stream::open(&replica_clients, prefix("k", one_old)).await;
    let canceled = watch.next().await.unwrap();
    assert!(
        canceled.canceled && canceled.compact_revision == one_new,
        "{canceled:?}"
    );

    // The etcd keeps what a plane still needs, and forgets what none does.
    let raw = |revision| pb::RangeRequest {
        revision,
        ..get("/a/k")
    };
    direct.kv.range(raw(one_old)).await.unwrap();
    compact(&mut two_clients, two_new).await.unwrap();
    let gone = direct.kv.range(raw(one_old)).await.unwrap_err();
    assert_eq!(gone.message(), forgotten);
    direct.kv.range(raw(one_new)).await.unwrap();
    assert_eq!(replica_clients.get("k").await.unwrap(), "new");
    for served in [one, two, replica] {
        served.stop().await;
    }
}

async fn refusal(etcd: &Etcd, prefix: &str) -> String {
    let (ctx, _trigger) = Context::new();
    let config = etcd::config(&etcd.members(), prefix);
    match Bound::bind(config, ctx).await {
        Ok(_) => panic!("{prefix:?} was let in"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_whose_keys_would_mix_are_refused() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let first = plane(&etcd, "/planes/a").await;
    for prefix in ["/planes", "/planes/a/b", "/sextant-planes/x"] {
        let refusal = refusal(&etcd, prefix).await;
        assert!(refusal.contains("lie within each other"), "{refusal}");
    }
    let refusal = refusal(&etcd, "").await;
    assert!(refusal.contains("is shared by planes"), "{refusal}");
    plane(&etcd, "/planes/b").await.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_etcd_alone_finds_it_as_it_was() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let mut direct = Clients::connect(&etcd.url()).await;
    let written = direct.put("/registry/x", "v").await;
    let alone = plane(&etcd, "").await;
    let mut clients = alone.clients().await;
    assert_eq!(clients.get("/registry/x").await.unwrap(), "v");
    let header = clients
        .kv
        .range(get("x"))
        .await
        .unwrap()
        .into_inner()
        .header;
    assert_eq!(revision(header), written, "nothing was written");
    // A plane that came later must not lose what it needs.
    let shared = plane(&etcd, "/late");
    let shared = shared.await;
    let refused = compact(&mut clients, written).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    shared.stop().await;
    alone.stop().await;
}
