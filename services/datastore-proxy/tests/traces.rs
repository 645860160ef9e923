//! What a trace shows of a write and of a read: the RPC, the batch, and what the database was asked.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::{Collector, Process, Span, eventually, free_port};
use std::path::Path;
use std::time::Duration;
use support::database::Server;
use support::{Clients, Served, Store, get, put};

support::on_each_backend! {
    a_snapshot_is_one_trace,
    a_statement_that_fails_says_so,
    a_trace_leads_to_the_database,
    no_value_is_told,
}

const CLIENT: i32 = 3;
/// What somebody stores who trusts that it stays where it is.
const SECRET: &str = "c2VjcmV0LWNvbnRlbnQ-0123";

async fn a_trace_leads_to_the_database(store: Store) {
    let collector = Collector::start().await;
    let (mut process, mut clients) = serve(&store, &collector).await;
    let first = clients.put("k", "v").await;
    clients.put("k", "w").await;
    // Of the past, so that it isn't read from memory.
    let old = pb::RangeRequest {
        revision: first,
        ..get("k")
    };
    clients.kv.range(old).await.unwrap();
    process.signal(nix::sys::signal::Signal::SIGTERM);
    // What it has is sent before it ends.
    let status = process.wait(Duration::from_secs(30)).await;
    assert!(status.success(), "{}", process.output());

    let spans = collector.spans();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name.contains(name));
    let parent = |span: &Span| {
        let parent = spans.iter().find(|other| other.span_id == span.parent);
        parent.map(|parent| parent.name.clone())
    };
    let committing: Vec<_> = named("committing").collect();
    assert!(committing.len() >= 2, "{spans:#?}");
    let system = match &store {
        Store::Sqlite(..) => "sqlite",
        Store::Server(Server::MariaDb(_)) => "mysql",
        Store::Server(Server::Postgres(_)) => "postgresql",
    };
    for span in committing {
        assert_eq!(
            (span.kind, parent(span).as_deref()),
            (CLIENT, Some("commit"))
        );
        assert_eq!(span.attributes["db.system.name"], system);
        assert_eq!(span.attributes["db.query.summary"], "committing");
    }
    // The batch of each write names its statements, and is linked to the write's own trace.
    for wait in named("commit.wait") {
        let linked = |span: &&Span| {
            let to = (wait.trace_id.clone(), wait.span_id.clone());
            span.links.contains(&to)
        };
        let commit = named("commit").find(linked).expect("a linked commit");
        let statement = spans.iter().find(|span| span.parent == commit.span_id);
        let statement = statement.expect("a statement");
        let text = &statement.attributes["db.query.text"];
        assert!(text.contains("INSERT INTO log (id, revision, "), "{text}");
        assert!(!statement.failed, "{statement:?}");
    }
    let waits: Vec<_> = named("commit.wait").filter_map(parent).collect();
    assert!(
        waits.len() >= 2 && waits.iter().all(|name| name.ends_with("/Put")),
        "{waits:?}"
    );
    let read = named("reading").any(|span| {
        let of_range = parent(span).is_some_and(|parent| parent.ends_with("/Range"));
        let text = span.attributes.get("db.query.text");
        let told =
            text.is_some_and(|text| text.starts_with("SELECT ") && text.contains("value FROM log"));
        span.kind == CLIENT && of_range && told
    });
    assert!(read, "{spans:#?}");
}

/// Values stand in no text of a statement, however they travel to the database, and nowhere else either.
async fn no_value_is_told(store: Store) {
    let collector = Collector::start().await;
    let (mut process, mut clients) = serve(&store, &collector).await;
    let granted = pb::LeaseGrantRequest { ttl: 600, id: 7 };
    clients.lease.lease_grant(granted).await.unwrap();
    let leased = pb::PutRequest {
        lease: 7,
        ..put("/registry/secrets/default/s", SECRET)
    };
    clients.kv.put(leased).await.unwrap();
    let first = clients.put("/registry/secrets/default/s", SECRET).await;
    clients.put("/registry/secrets/default/s", "gone").await;
    let old = pb::RangeRequest {
        revision: first,
        ..get("/registry/secrets/default/s")
    };
    let read = clients.kv.range(old).await.unwrap().into_inner();
    assert_eq!(read.kvs[0].value, SECRET);
    let revoked = pb::LeaseRevokeRequest { id: 7 };
    clients.lease.lease_revoke(revoked).await.unwrap();
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let status = process.wait(Duration::from_secs(30)).await;
    assert!(status.success(), "{}", process.output());

    let texts = collector.texts();
    assert!(texts.iter().any(|text| text.contains("INSERT INTO log")));
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    // As it is, as MariaDB is sent it, and as the debug form of bytes.
    for form in [SECRET, &hex, &format!("{:?}", SECRET.as_bytes())] {
        let found = texts.iter().find(|text| text.contains(form));
        assert!(found.is_none(), "{form} in {found:?}");
    }
}

async fn a_statement_that_fails_says_so(store: Store) {
    let collector = Collector::start().await;
    let (mut process, mut clients) = serve(&store, &collector).await;
    let first = clients.put("k", "v").await;
    clients.put("k", "w").await;
    // SQLITE_ERROR, ER_NO_SUCH_TABLE, undefined_table.
    let (code, statement, around) = match &store {
        Store::Sqlite(_, path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.execute_batch("DROP TABLE log").unwrap();
            let old = pb::RangeRequest {
                revision: first,
                ..get("k")
            };
            clients.kv.range(old).await.unwrap_err();
            ("1", "reading", "/etcdserverpb.KV/Range")
        }
        Store::Server(server) => {
            server.administer("DROP TABLE plane.lease").await;
            let granted = pb::LeaseGrantRequest { ttl: 600, id: 7 };
            clients.lease.lease_grant(granted).await.unwrap_err();
            match server {
                Server::MariaDb(_) => ("1146", "committing", "commit"),
                Server::Postgres(_) => ("42P01", "committing", "commit"),
            }
        }
    };
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.wait(Duration::from_secs(30)).await;

    let spans = collector.spans();
    let failed = spans
        .iter()
        .find(|span| span.name == statement && span.failed);
    let failed = failed.unwrap_or_else(|| panic!("no failure in {spans:#?}"));
    assert_eq!(failed.attributes["db.response.status_code"], code);
    assert_eq!(failed.attributes["error.type"], code);
    let whole = spans.iter().find(|span| span.span_id == failed.parent);
    let whole = whole.unwrap_or_else(|| panic!("{failed:?} has no parent in {spans:#?}"));
    assert!(whole.name == around && whole.failed, "{whole:?}");
}

/// From the client's call until the last byte has been sent.
async fn a_snapshot_is_one_trace(store: Store) {
    let collector = Collector::start().await;
    let (mut process, mut clients) = serve(&store, &collector).await;
    let revision = clients.put("k", SECRET).await;
    let snapshot = clients.maintenance.snapshot(pb::SnapshotRequest {}).await;
    let mut snapshot = snapshot.unwrap().into_inner();
    let mut bytes = 0;
    while let Some(piece) = snapshot.message().await.unwrap() {
        bytes += piece.blob.len();
    }
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let status = process.wait(Duration::from_secs(30)).await;
    assert!(status.success(), "{}", process.output());

    let spans = collector.spans();
    let root = spans
        .iter()
        .find(|span| span.name == "/etcdserverpb.Maintenance/Snapshot");
    let root = root.unwrap_or_else(|| panic!("no snapshot in {spans:#?}"));
    assert!(root.parent.is_empty() && !root.failed, "{root:?}");
    let below = |parent: &Span, name: &str| {
        let found = spans
            .iter()
            .find(|span| span.name == name && span.parent == parent.span_id);
        let found = found.unwrap_or_else(|| panic!("no {name} below {parent:?} in {spans:#?}"));
        assert_eq!(found.trace_id, root.trace_id);
        found.clone()
    };
    let copy = below(root, "snapshot.copy");
    assert_eq!(copy.attributes["revision"], revision.to_string());
    let statement = match &store {
        Store::Sqlite(..) => below(&copy, "copying"),
        Store::Server(_) => below(&copy, "reading the log"),
    };
    assert!(statement.attributes.contains_key("db.query.text"));
    let sent = below(root, "snapshot.send");
    // The checksum comes after the store.
    assert_eq!(sent.attributes["bytes"], (bytes - 32).to_string());
}

/// SQLite's log is moved into its file, and space that is free is given back.
#[tokio::test]
async fn the_stores_own_care_is_told() {
    let collector = Collector::start().await;
    let store = Store::sqlite();
    let (process, mut clients) = serve(&store, &collector).await;
    let large = "x".repeat(500_000);
    let mut revision = 0;
    // More than the log is let grow to.
    for _ in 0..12 {
        revision = clients.put("k", &large).await;
    }
    let compaction = pb::CompactionRequest {
        revision,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    let defragment = pb::DefragmentRequest::default();
    clients.maintenance.defragment(defragment).await.unwrap();
    for (name, text) in [
        ("checkpointing", "PRAGMA wal_checkpoint("),
        ("shrinking", "PRAGMA incremental_vacuum("),
    ] {
        let span = eventually(Duration::from_secs(30), name, || async {
            let spans = collector.spans();
            let span = spans.into_iter().find(|span| span.name == name);
            span.ok_or_else(|| process.output())
        });
        let span = span.await;
        let told = &span.attributes["db.query.text"];
        assert!(told.starts_with(text), "{span:?}");
        assert_eq!((span.kind, span.failed), (CLIENT, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_by_the_command_is_one_trace() {
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    let revision = served.clients().await.put("k", SECRET).await.to_string();
    let collector = Collector::start().await;
    let snapshot = folder.path().join("snapshot");
    let snapshot = snapshot.to_str().unwrap();
    let run = |arguments: Vec<String>| {
        let address = collector.endpoint();
        async move {
            let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str())];
            let program = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
            let mut process = Process::spawn(program, &arguments, &environment).unwrap();
            process.wait(Duration::from_secs(30)).await.success()
        }
    };
    let on = |store: &Path, command: &str| {
        let endpoint = format!("sqlite://{}", store.display());
        let words = ["--endpoint", &endpoint, "snapshot", command, snapshot];
        words.map(str::to_owned).to_vec()
    };
    assert!(run(on(&path, "save")).await);
    assert!(run(on(&path, "verify")).await);
    let restored = folder.path().join("restored.db");
    assert!(run(on(&restored, "restore")).await);
    // It is there now.
    assert!(!run(on(&restored, "restore")).await);
    served.stop().await;

    let spans = collector.spans();
    let traces = [
        (
            "snapshot.save",
            &["snapshot.copy", "snapshot.write", "snapshot.publish"][..],
        ),
        ("snapshot.verify", &["snapshot.compare", "snapshot.check"]),
        (
            "snapshot.restore",
            &[
                "snapshot.compare",
                "snapshot.rewind",
                "snapshot.check",
                "snapshot.publish",
            ],
        ),
    ];
    for (name, stages) in traces {
        let roots = || spans.iter().filter(move |span| span.name == name);
        let root = roots().find(|root| !root.failed).expect(name);
        assert!(root.parent.is_empty(), "{root:?}");
        for stage in stages {
            let found = spans
                .iter()
                .find(|span| span.name == *stage && span.parent == root.span_id);
            let found = found.unwrap_or_else(|| panic!("no {stage} of {name} in {spans:#?}"));
            match *stage {
                "snapshot.copy" | "snapshot.check" => {
                    assert_eq!(found.attributes["revision"], revision, "{found:?}");
                }
                "snapshot.write" | "snapshot.compare" => {
                    let length = std::fs::metadata(snapshot).unwrap().len() - 32;
                    assert_eq!(found.attributes["bytes"], length.to_string());
                }
                _ => {}
            }
        }
        assert_eq!(
            roots().filter(|root| root.failed).count(),
            usize::from(name == "snapshot.restore")
        );
    }
    assert!(!collector.texts().iter().any(|text| text.contains(SECRET)));
}

async fn serve(store: &Store, collector: &Collector) -> (Process, Clients) {
    let listen = format!("127.0.0.1:{}", free_port());
    let settings = [
        format!("common.admin_listen=127.0.0.1:{}", free_port()),
        format!("peer.listen=127.0.0.1:{}", free_port()),
    ];
    let endpoint = store.config().endpoint;
    let mut args = vec!["serve", "--insecure-loopback", "--endpoint", &endpoint];
    args.extend(["--listen", &listen]);
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let address = collector.endpoint();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let program = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
    let process = Process::spawn(program, &args, &environment).unwrap();
    (
        process,
        Clients::answering(&listen, Duration::from_secs(30)).await,
    )
}
