//! What operators run on files: snapshots, checks, the import of kine's.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use rusqlite::Connection;
use sextant_proto::etcd::etcdserverpb as pb;
use std::path::Path;
use std::process::{Command, Output};
use support::{Clients, Served, delete, get, list, put, revision};

fn run(store: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_datastore-proxy"))
        .arg("--endpoint")
        .arg(format!("sqlite://{}", store.display()))
        .args(args)
        .output()
        .unwrap()
}

/// Its output; it must have worked.
fn works(store: &Path, args: &[&str]) -> String {
    let output = run(store, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says; it must have refused.
fn refuses(store: &Path, args: &[&str]) -> String {
    let output = run(store, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn grant(clients: &mut Clients, id: i64) {
    let request = pb::LeaseGrantRequest { ttl: 600, id };
    clients.lease.lease_grant(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_to_any_revision_that_is_held() {
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    grant(&mut clients, 77).await;
    for value in ["1", "2", "3", "4"] {
        clients.put("a", value).await;
    }
    let leased = pb::PutRequest {
        lease: 77,
        ..put("leased", "v")
    };
    let with_lease = revision(clients.kv.put(leased).await.unwrap().into_inner().header);
    let compact = pb::CompactionRequest {
        revision: 4,
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();
    clients
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 77 })
        .await
        .unwrap();
    let newest = clients.put("b", "1").await;
    let snapshot = folder.path().join("snapshot");
    // While it is served.
    let said = works(&path, &["snapshot", "save", text(&snapshot)]);
    assert!(said.starts_with("saved "), "{said}");
    let said = works(&path, &["snapshot", "verify", text(&snapshot)]);
    assert!(said.contains("the checksum is right"), "{said}");
    assert!(said.contains("no problem found"), "{said}");
    let overwrites = run(&path, &["snapshot", "restore", text(&snapshot)]);
    assert!(!overwrites.status.success(), "{overwrites:?}");
    served.stop().await;
    assert!(refuses(&path, &["snapshot", "restore", text(&snapshot)]).contains("exists"));

    let whole = folder.path().join("whole.db");
    works(&whole, &["snapshot", "restore", text(&snapshot)]);
    let served = Served::start(&whole).await;
    let mut clients = served.clients().await;
    assert_eq!(clients.get("a").await.as_deref(), Some("4"));
    assert_eq!(clients.get("leased").await, None);
    assert_eq!(clients.put("c", "1").await, newest + 1);
    served.stop().await;

    // As it was before the lease ended.
    let past = folder.path().join("past.db");
    let at = with_lease.to_string();
    let said = works(
        &past,
        &["snapshot", "restore", text(&snapshot), "--revision", &at],
    );
    assert!(said.contains("1 leases"), "{said}");
    let served = Served::start(&past).await;
    let mut clients = served.clients().await;
    assert_eq!(clients.get("leased").await.as_deref(), Some("v"));
    assert_eq!(clients.get("b").await, None);
    let request = pb::LeaseTimeToLiveRequest { id: 77, keys: true };
    let lease = clients
        .lease
        .lease_time_to_live(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((lease.granted_ttl, lease.keys.len()), (3600, 1));
    served.stop().await;

    // Later than any revision that somebody may have seen.
    let later = folder.path().join("later.db");
    let bump = ["--revision", &at, "--bump-revision", "1000"];
    let args = [&["snapshot", "restore", text(&snapshot)][..], &bump].concat();
    works(&later, &args);
    let served = Served::start(&later).await;
    let mut clients = served.clients().await;
    let answer = clients.kv.range(get("a")).await.unwrap().into_inner();
    assert_eq!(revision(answer.header), with_lease + 1000);
    assert_eq!(answer.kvs[0].value, "4");
    let old = pb::RangeRequest {
        revision: newest,
        ..get("a")
    };
    let refused = clients.kv.range(old).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(clients.put("a", "5").await, with_lease + 1001);
    served.stop().await;
    works(&later, &["check"]);

    let nowhere = folder.path().join("nowhere.db");
    let said = refuses(
        &nowhere,
        &["snapshot", "restore", text(&snapshot), "--revision", "3"],
    );
    assert!(said.contains("holds revisions 4 to"), "{said}");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    assert!(refuses(&nowhere, &["snapshot", "restore", text(&snapshot)]).contains("not a whole"));
    refuses(&nowhere, &["snapshot", "verify", text(&snapshot)]);
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| text(name.as_ref()).ends_with(".part")),
        "{left:?}"
    );
}

/// A store with some history, nobody serving it.
async fn filled(path: &Path) {
    let served = Served::start(path).await;
    let mut clients = served.clients().await;
    grant(&mut clients, 5).await;
    for number in 0..20 {
        clients
            .put(&format!("k{}", number % 4), &number.to_string())
            .await;
    }
    clients.kv.delete_range(delete("k3")).await.unwrap();
    let leased = pb::PutRequest {
        lease: 5,
        ..put("leased", "v")
    };
    clients.kv.put(leased).await.unwrap();
    let compact = pb::CompactionRequest {
        revision: 10,
        physical: true,
    };
    clients.kv.compact(compact).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_is_wrong() {
    let (folder, path) = support::store();
    filled(&path).await;
    let said = works(&path, &["check"]);
    assert!(
        said.contains("revision: 23") && said.contains("keys: 4"),
        "{said}"
    );
    let damages = [
        (
            "DELETE FROM log WHERE revision = 15",
            "revisions 15 to 15 are missing",
        ),
        (
            "UPDATE log SET version = 9 WHERE revision = 23",
            "key \"leased\" at revision 23",
        ),
        (
            "UPDATE log SET revision = 12 WHERE revision = 18",
            "follows revision 17",
        ),
        ("DELETE FROM lease", "lease 5, which doesn't exist"),
        ("PRAGMA application_id = 7", "no store of datastore-proxy"),
        ("PRAGMA user_version = 99", "schema 99"),
    ];
    for (damage, expected) in damages {
        let damaged = folder.path().join("damaged.db");
        let _ = std::fs::remove_file(&damaged);
        let original = Connection::open(&path).unwrap();
        original
            .execute("VACUUM INTO ?1", [text(&damaged)])
            .unwrap();
        let connection = Connection::open(&damaged).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let said = refuses(&damaged, &["check"]);
        assert!(
            said.contains("PROBLEM") && said.contains(expected),
            "{damage}: {said}"
        );
    }
    refuses(&folder.path().join("missing.db"), &["check"]);
}

/// The table as kine 0.17 makes it.
const KINE: &str = "
    CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
    INSERT INTO kine VALUES
        (1, 'compact_rev_key', 1, 0, 0, 5, 0, NULL, NULL),
        (2, '/registry/health', 1, 0, 0, 0, 0, x'7b7d', NULL),
        (5, '/registry/a', 0, 0, 3, 4, 0, 'five', 'four'),
        (6, '/registry/b', 1, 0, 0, 0, 3660, 'event', NULL),
        (7, 'gap-7', 0, 1, 0, 0, 0, NULL, NULL),
        (8, '/registry/a', 0, 0, 3, 5, 0, 'eight', 'five'),
        (9, '/registry/c', 1, 0, 0, 0, 0, 'gone', NULL),
        (10, '/registry/c', 0, 1, 9, 9, 0, 'gone', 'gone'),
        (11, 'compact_rev_key_apiserver', 1, 0, 0, 0, 0, '3|5', NULL),
        (12, 'gap-12', 0, 1, 0, 0, 0, NULL, NULL);
";

#[tokio::test(flavor = "multi_thread")]
async fn kines_database_is_imported() {
    let (folder, path) = support::store();
    let kine = folder.path().join("kine.db");
    Connection::open(&kine)
        .unwrap()
        .execute_batch(KINE)
        .unwrap();
    let before = std::fs::read(&kine).unwrap();
    let said = works(&path, &["import-kine", text(&kine)]);
    assert!(
        said.contains("digest of 4 keys: ") && said.contains("no problem found"),
        "{said}"
    );
    assert_eq!(std::fs::read(&kine).unwrap(), before);
    assert!(refuses(&path, &["import-kine", text(&kine)]).contains("exists"));
    works(&path, &["check"]);

    let served = Served::start(&path).await;
    let mut clients = served.clients().await;
    let all = clients
        .kv
        .range(list("/registry/"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revision(all.header), 12);
    let seen = |kv: &sextant_proto::etcd::mvccpb::KeyValue| {
        let key = String::from_utf8(kv.key.to_vec()).unwrap();
        (
            key,
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease,
        )
    };
    let expected = [
        ("/registry/a", 3, 8, 3, 0),
        ("/registry/b", 6, 6, 1, 3660),
        ("/registry/health", 2, 2, 1, 0),
    ];
    let expected = expected.map(|(key, create, modified, version, lease)| {
        (key.to_owned(), create, modified, version, lease)
    });
    assert_eq!(all.kvs.iter().map(seen).collect::<Vec<_>>(), expected);
    let past = pb::RangeRequest {
        revision: 9,
        ..get("/registry/c")
    };
    assert_eq!(
        clients.kv.range(past).await.unwrap().into_inner().kvs.len(),
        1
    );
    let marker = clients
        .kv
        .range(get("compact_rev_key"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (marker.kvs[0].version, marker.kvs[0].value.as_ref()),
        (3, &b"5"[..])
    );
    let request = pb::LeaseTimeToLiveRequest {
        id: 3660,
        keys: true,
    };
    let lease = clients
        .lease
        .lease_time_to_live(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((lease.granted_ttl, lease.keys.len()), (3660, 1));
    assert_eq!(clients.put("/registry/a", "13").await, 13);
    served.stop().await;
    works(&path, &["check"]);

    let other = folder.path().join("other.db");
    let said = refuses(&other, &["import-kine", text(&path)]);
    assert!(said.contains("no such table: kine"), "{said}");
    assert!(!other.exists());
}
