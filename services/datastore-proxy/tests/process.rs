//! The real process: killed with -9 while it is written to, stopped, given a damaged file, given a full disk.
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
use sextant_testkit::{Process, eventually, free_port};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use support::{Clients, list, put, revision};

const KILLS: usize = 20;
const WRITERS: usize = 8;

fn spawn(path: &Path, port: u16) -> Process {
    let endpoint = format!("sqlite://{}", path.display());
    let listen = format!("127.0.0.1:{port}");
    let admin = format!("common.admin_listen=127.0.0.1:{}", free_port());
    let args = [
        "serve",
        "--insecure-loopback",
        "--endpoint",
        &endpoint,
        "--listen",
        &listen,
        "--set",
        &admin,
        // Nothing of a megabyte is written in a millisecond.
        "--set",
        "slow_request_ms=1",
    ];
    Process::spawn(Path::new(env!("CARGO_BIN_EXE_datastore-proxy")), &args, &[]).unwrap()
}

async fn start(path: &Path) -> (Process, Clients) {
    let listen = format!("127.0.0.1:{}", free_port());
    let port = listen.rsplit(':').next().unwrap().parse().unwrap();
    let process = spawn(path, port);
    (
        process,
        Clients::answering(&listen, Duration::from_secs(20)).await,
    )
}

/// Writes pairs of keys, each pair in one transaction, until the process is gone.
async fn write(mut clients: Clients, writer: usize, next: Arc<AtomicI64>, acked: Arc<AtomicI64>) {
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let op = |half: &str| {
            let put = put(&format!("/{half}/{writer}"), &number.to_string());
            pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put)),
            }
        };
        let success = vec![op("left"), op("right")];
        let txn = pb::TxnRequest {
            success,
            ..pb::TxnRequest::default()
        };
        match clients.kv.txn(txn).await {
            Ok(_) => acked.store(number, Ordering::SeqCst),
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_is_told_with_its_caller_and_its_keys() {
    let (_folder, path) = support::store();
    let (process, mut clients) = start(&path).await;
    let large = "v".repeat(1 << 20);
    clients
        .put("/registry/configmaps/default/large", &large)
        .await;
    eventually(
        Duration::from_secs(10),
        "the request is in the log",
        || async {
            let output = process.output();
            let told = output.lines().any(|line| {
                [
                    "slow request",
                    r#""method":"Put""#,
                    r#""caller":"local""#,
                    "configmaps/default/large",
                ]
                .iter()
                .all(|part| line.contains(part))
            });
            assert!(!output.contains("vvvv"), "the log shows values");
            if told { Ok(()) } else { Err(output) }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let (_folder, path) = support::store();
    let next: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicI64::new(1))).collect();
    let acked: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicI64::new(0))).collect();
    let mut newest = 1;
    for kill in 0..=KILLS {
        let (mut process, mut clients) = start(&path).await;
        let all = clients.kv.range(list("/")).await.unwrap().into_inner();
        assert!(
            revision(all.header) >= newest,
            "kill {kill}: revisions were lost"
        );
        newest = revision(all.header);
        for (writer, acked) in acked.iter().enumerate() {
            let left = clients.get(&format!("/left/{writer}")).await;
            let right = clients.get(&format!("/right/{writer}")).await;
            assert_eq!(
                left, right,
                "kill {kill}: half a transaction of writer {writer}"
            );
            let found = left.map_or(0, |text| text.parse::<i64>().unwrap());
            let told = acked.load(Ordering::SeqCst);
            assert!(
                found >= told,
                "kill {kill}: writer {writer} was told {told}, there is {found}"
            );
        }
        if kill == KILLS {
            return;
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (next, acked) = (Arc::clone(&next[writer]), Arc::clone(&acked[writer]));
                tokio::spawn(write(clients.clone(), writer, next, acked))
            })
            .collect();
        // Each time at another moment: after so many acknowledged writes.
        let before: i64 = next.iter().map(|next| next.load(Ordering::SeqCst)).sum();
        let wanted = before + 20 + i64::try_from(kill * 37 % 200).unwrap();
        eventually(Duration::from_secs(30), "writes", || async {
            let done: i64 = next.iter().map(|next| next.load(Ordering::SeqCst)).sum();
            if done >= wanted { Ok(()) } else { Err(done) }
        })
        .await;
        process.signal(nix::sys::signal::Signal::SIGKILL);
        process.wait(Duration::from_secs(10)).await;
        for writer in writers {
            writer.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_signal_ends_it_also_with_open_watches() {
    let (_folder, path) = support::store();
    let (mut process, clients) = start(&path).await;
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..pb::WatchCreateRequest::default()
    };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    let request = pb::WatchRequest {
        request_union: Some(union),
    };
    let requests =
        tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut answers = clients
        .watch
        .clone()
        .watch(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    process.terminate();
    let status = process.wait(Duration::from_secs(5)).await;
    assert!(status.success(), "{status}: {}", process.output());
    let told = answers.message().await.unwrap_err();
    assert_eq!(told.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_as_it_is() {
    let (_folder, path) = support::store();
    std::fs::write(
        &path,
        "this is no database, but somebody may need it".repeat(100),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut process = spawn(&path, free_port());
    let status = process.wait(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1));
    let said = process.output();
    assert!(
        said.contains("state.db") && said.contains("backup"),
        "{said}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A file system of a few megabytes, until dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = nix::mount::MsFlags::empty();
        let size = Some("size=4m");
        nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), options, size).ok()?;
        Some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        nix::mount::umount(self.0.path()).expect("it can be unmounted");
    }
}

#[tokio::test]
async fn a_full_disk_stops_writes_alone_and_only_as_long_as_it_is_full() {
    let Some(small) = Small::mount() else {
        println!("SKIP a file system can't be mounted here");
        return;
    };
    let path = small.0.path().join("state.db");
    let (mut process, mut clients) = start(&path).await;
    let value = "v".repeat(100_000);
    clients.put("first", "v").await;
    let mut stored = 0;
    let refused = loop {
        match clients.kv.put(put(&format!("k{stored}"), &value)).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: database space exceeded"
    );
    // Reading goes on, and what was acknowledged is there.
    assert_eq!(clients.get("first").await.as_deref(), Some("v"));
    let all = clients.kv.range(list("k")).await.unwrap().into_inner();
    assert_eq!(all.count, stored);
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(
        status.errors[0].ends_with("alarm:NOSPACE"),
        "{:?}",
        status.errors
    );

    let more = nix::mount::MsFlags::MS_REMOUNT;
    let folder = small.0.path();
    nix::mount::mount(Some("tmpfs"), folder, Some("tmpfs"), more, Some("size=64m")).unwrap();
    clients.put("last", &value).await;
    let status = clients
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(status.errors.is_empty());
    process.signal(nix::sys::signal::Signal::SIGKILL);
    process.wait(Duration::from_secs(10)).await;
    drop(clients);

    let (process, mut clients) = start(&path).await;
    let all = clients.kv.range(list("k")).await.unwrap().into_inner();
    assert_eq!(all.count, stored);
    assert_eq!(clients.get("last").await, Some(value));
    process.signal(nix::sys::signal::Signal::SIGKILL);
    let mut process = process;
    process.wait(Duration::from_secs(10)).await;
}
