//! Several replicas on one database: each serves everything; the one that writes is killed, stopped, cut off from
//! its database; nothing that was acknowledged is lost, and no revision is there twice.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod faults;
mod history;
mod mesh;
mod proxy;
mod tls;

use cluster::{status, three};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_testkit::eventually;
use std::time::Duration;
use support::database::{Server, on_each_server};
use support::{Clients, Served, get, list, put, revision};
use tonic::Code;

on_each_server! {
    every_replica_sees_at_once_what_another_one_acknowledged,
    a_watch_hears_of_what_is_written_elsewhere,
    a_lease_is_the_same_on_every_replica,
    what_one_replica_compacts_every_replica_forgets,
    schemas_do_not_see_each_other,
}

async fn every_replica_sees_at_once_what_another_one_acknowledged(server: Server) {
    let (replicas, mut clients) = three(&server).await;
    for round in 0..30_i64 {
        let writer = usize::try_from(round % 3).unwrap();
        let written = clients[writer].put("k", &round.to_string()).await;
        assert_eq!(written, round + 2);
        for (number, clients) in clients.iter_mut().enumerate() {
            let found = clients.kv.range(get("k")).await.unwrap().into_inner();
            assert_eq!(found.kvs[0].value, round.to_string(), "replica {number}");
            assert_eq!(revision(found.header), written, "replica {number}");
        }
    }
    let mut leaders = Vec::new();
    let mut members = Vec::new();
    for clients in &mut clients {
        let status = status(clients).await;
        // etcdctl divides by it.
        assert!(status.db_size > 0, "{status:?}");
        leaders.push(status.leader);
        members.push(status.header.unwrap().member_id);
    }
    assert!(members.contains(&leaders[0]), "{leaders:?} of {members:?}");
    leaders.dedup();
    members.sort_unstable();
    members.dedup();
    assert_eq!((leaders.len(), members.len()), (1, 3));
    stop(replicas).await;
}

async fn a_watch_hears_of_what_is_written_elsewhere(server: Server) {
    let (replicas, mut clients) = three(&server).await;
    let mut streams = Vec::new();
    for clients in &mut clients {
        let create = pb::WatchCreateRequest {
            key: "k".into(),
            range_end: "l".into(),
            prev_kv: true,
            ..pb::WatchCreateRequest::default()
        };
        let mut answers = watch(clients, create).await;
        assert!(answers.message().await.unwrap().unwrap().created);
        streams.push(answers);
    }
    for (number, clients) in clients.iter_mut().enumerate() {
        clients.put("k", &number.to_string()).await;
    }
    for answers in &mut streams {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let answer = answers.message().await.unwrap().unwrap();
            seen.extend(answer.events.into_iter().map(|event| {
                let (kv, previous) = (event.kv.unwrap(), event.prev_kv);
                (kv.mod_revision, kv.value, previous.map(|kv| kv.value))
            }));
        }
        let expected = [
            (2, "0".into(), None),
            (3, "1".into(), Some("0".into())),
            (4, "2".into(), Some("1".into())),
        ];
        assert_eq!(seen, expected);
    }
    stop(replicas).await;
}

async fn a_lease_is_the_same_on_every_replica(server: Server) {
    let (replicas, mut clients) = three(&server).await;
    for (number, clients) in (1_i64..).zip(&mut clients) {
        let (id, ttl) = (number, 600);
        let grant = pb::LeaseGrantRequest { id, ttl };
        clients.lease.lease_grant(grant).await.unwrap();
        let leased = pb::PutRequest {
            lease: id,
            ..put(&format!("leased-{number}"), "v")
        };
        clients.kv.put(leased).await.unwrap();
        let again = clients.lease.lease_grant(grant).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition);
        assert_eq!(again.message(), "etcdserver: lease already exists");
    }
    for clients in &mut clients {
        let listed = clients.lease.lease_leases(pb::LeaseLeasesRequest {});
        let mut ids: Vec<_> = listed.await.unwrap().into_inner().leases;
        ids.sort_by_key(|lease| lease.id);
        assert_eq!(ids.iter().map(|l| l.id).collect::<Vec<_>>(), [1, 2, 3]);
        let ask = pb::LeaseTimeToLiveRequest { id: 1, keys: true };
        let left = clients.lease.lease_time_to_live(ask).await.unwrap();
        let left = left.into_inner();
        assert_eq!(left.keys, ["leased-1"]);
        assert!((590..=600).contains(&left.ttl), "{left:?}");
        let renewals = tokio_stream::once(pb::LeaseKeepAliveRequest { id: 99 });
        let answers = clients.lease.lease_keep_alive(renewals).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap();
        assert_eq!(answer.ttl, 0, "a lease that isn't there");
    }
    for (number, clients) in (1..).zip(&mut clients) {
        let revoke = pb::LeaseRevokeRequest { id: number };
        clients.lease.lease_revoke(revoke).await.unwrap();
        let left = clients.kv.range(list("leased-")).await.unwrap();
        assert_eq!(left.into_inner().count, 3 - number);
    }
    stop(replicas).await;
}

async fn what_one_replica_compacts_every_replica_forgets(server: Server) {
    let (replicas, mut clients) = three(&server).await;
    for number in 0..50 {
        clients[0].put("k", &number.to_string()).await;
    }
    let compaction = pb::CompactionRequest {
        revision: 51,
        physical: true,
    };
    clients[1].kv.compact(compaction).await.unwrap();
    let rows = server.number("SELECT count(*) FROM plane.log").await;
    assert_eq!(rows, 1);
    for clients in &clients {
        eventually(Duration::from_secs(10), "the past is forgotten", || {
            let mut clients = clients.clone();
            async move {
                let old = pb::RangeRequest {
                    revision: 50,
                    ..get("k")
                };
                match clients.kv.range(old).await {
                    Err(status) if status.code() == Code::OutOfRange => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        assert_eq!(clients.clone().get("k").await.as_deref(), Some("49"));
    }
    stop(replicas).await;
}

async fn schemas_do_not_see_each_other(server: Server) {
    let mut planes = Vec::new();
    for schema in ["plane_a", "plane_b"] {
        let served = Served::start_with(support::replica(&server.endpoint(schema))).await;
        let mut clients = served.clients().await;
        assert_eq!(clients.get("k").await, None);
        assert_eq!(clients.put("k", schema).await, 2);
        planes.push((served, clients));
    }
    assert_eq!(planes[0].1.get("k").await.as_deref(), Some("plane_a"));
    stop(planes.into_iter().map(|(served, _)| served).collect()).await;
}

async fn stop(replicas: Vec<Served>) {
    for replica in replicas {
        replica.stop().await;
    }
}

/// The answers to one watch.
async fn watch(
    clients: &mut Clients,
    create: pb::WatchCreateRequest,
) -> tonic::Streaming<pb::WatchResponse> {
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(create),
        tokio_stream::pending::<pb::WatchRequest>(),
    );
    clients.watch.watch(requests).await.unwrap().into_inner()
}
