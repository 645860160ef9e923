//! `migrate` between SQLite and a database server: what comes out is what went in, with its past, and goes on from there.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use datastore_proxy::config::DatabaseConfig;
use datastore_proxy::store::server::Settings;
use sextant_proto::etcd::etcdserverpb as pb;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use support::database::{Server, on_each_server};
use support::{Clients, Served, delete, get, put};

on_each_server! {
    there_and_back_again,
    what_would_lose_something_is_refused,
    a_schema_that_is_half_filled_is_not_served,
}

async fn migrate(from: &str, to: &str) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_datastore-proxy"))
        .args(["migrate", "--from", from, "--to", to])
        .output()
        .await
        .unwrap()
}

/// It failed, and said this.
async fn refused(from: &str, to: &str, reason: &str) {
    let output = migrate(from, to).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains(reason),
        "{reason}: {told}"
    );
}

async fn done(from: &str, to: &str) -> String {
    let output = migrate(from, to).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let digest = said
        .lines()
        .find_map(|line| line.strip_prefix("digest of all rows and leases: "));
    digest
        .unwrap_or_else(|| panic!("no digest: {said}"))
        .to_owned()
}

fn file(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Keys of all kinds, some of them gone, some forgotten; the last thing is a deletion.
async fn write(clients: &mut Clients) {
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 600 };
    clients.lease.lease_grant(grant).await.unwrap();
    for number in 0..300 {
        clients
            .put(&format!("k{}", number % 40), &number.to_string())
            .await;
    }
    let leased = pb::PutRequest {
        lease: 7,
        key: vec![0, 0xff, b'x'].into(),
        value: vec![0xff; 3000].into(),
        ..put("", "")
    };
    clients.kv.put(leased).await.unwrap();
    let compaction = pb::CompactionRequest {
        revision: 200,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    clients.kv.delete_range(delete("k3")).await.unwrap();
}

async fn hash(clients: &mut Clients) -> (u32, i64, i64) {
    let asked = clients
        .maintenance
        .hash_kv(pb::HashKvRequest { revision: 0 });
    let found = asked.await.unwrap().into_inner();
    (found.hash, found.hash_revision, found.compact_revision)
}

/// What was there is there, and it goes on.
async fn lives_on(clients: &mut Clients, before: (u32, i64, i64)) {
    assert_eq!(hash(clients).await, before);
    let (_, revision, compacted) = before;
    let old = |revision| pb::RangeRequest {
        revision,
        ..get("k9")
    };
    // Of the past: k9 was 249 from revision 251 on.
    let past = clients.kv.range(old(260)).await.unwrap().into_inner();
    assert_eq!(past.kvs[0].value, "249");
    clients.kv.range(old(compacted - 1)).await.unwrap_err();
    let ask = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let lease = clients
        .lease
        .lease_time_to_live(ask)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(lease.keys, [vec![0, 0xff, b'x']]);
    assert!((500..=600).contains(&lease.ttl), "{lease:?}");
    assert_eq!(clients.put("new", "v").await, revision + 1);
}

async fn there_and_back_again(server: Server) {
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    write(&mut clients).await;
    let before = hash(&mut clients).await;
    served.stop().await;

    let (first, schema) = (file(&path), server.endpoint("plane"));
    let digest = done(&first, &schema).await;
    // Into another file first, while the schema still is what was copied.
    let second = folder.path().join("second.db");
    assert_eq!(done(&schema, &file(&second)).await, digest);

    let on_server = Served::start_with(support::replica(&schema)).await;
    lives_on(&mut on_server.clients().await, before).await;
    on_server.stop().await;
    let on_file = Served::start(&second).await;
    lives_on(&mut on_file.clients().await, before).await;
    on_file.stop().await;
    let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_datastore-proxy"))
        .args(["check", &second.display().to_string()])
        .output();
    let check = check.await.unwrap();
    assert!(check.status.success(), "{check:?}");
}

async fn what_would_lose_something_is_refused(server: Server) {
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    served.clients().await.put("k", "v").await;
    let (full, schema) = (file(&path), server.endpoint("plane"));
    refused(&full, &schema, "held by another process").await;
    served.stop().await;

    let replica = Served::start_with(support::replica(&schema)).await;
    replica.clients().await.put("k", "v").await;
    refused(&full, &schema, "stop all of them").await;
    let other = folder.path().join("other.db");
    refused(&schema, &file(&other), "stop all of them").await;
    replica.stop().await;
    refused(&full, &schema, "holds something already").await;
    refused(&schema, &full, "exists: move it away").await;

    let missing = file(&folder.path().join("missing.db"));
    refused(&missing, &schema, "there is nothing in").await;
    refused(
        &full,
        "etcd://127.0.0.1:2379/x",
        "numbers what it is given itself",
    )
    .await;
    let kept: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !kept
            .iter()
            .any(|name| name.to_string_lossy().contains("part")),
        "{kept:?}"
    );
}

/// A migration that was killed leaves a part of a store, which nobody may take for one.
async fn a_schema_that_is_half_filled_is_not_served(server: Server) {
    let schema = server.endpoint("plane");
    let settings = Settings::new(&schema, &DatabaseConfig::default()).unwrap();
    let database = settings.open(1).await.unwrap();
    database.begin_filling().await.unwrap();
    let starting = Served::told(support::replica(&schema), "a migration fills it").await;
    database.end_filling().await.unwrap();
    let bound = tokio::time::timeout(Duration::from_secs(30), starting.task).await;
    bound
        .expect("it starts once that has ended")
        .unwrap()
        .unwrap();
    starting.trigger.start();
}
