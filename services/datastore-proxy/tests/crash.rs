//! The real process, killed with -9 while it is written to: what it acknowledged is there, nothing is half there.

mod support;

use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::{Process, eventually};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use support::{Clients, get, list, put, revision};

const KILLS: usize = 20;
const WRITERS: usize = 8;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn start(path: &Path) -> (Process, Clients) {
    let (port, admin) = (free_port(), free_port());
    let endpoint = format!("sqlite://{}", path.display());
    let listen = format!("127.0.0.1:{port}");
    let admin = format!("common.admin_listen=127.0.0.1:{admin}");
    let args =
        ["serve", "--insecure-loopback", "--endpoint", &endpoint, "--listen", &listen, "--set", &admin];
    let binary = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
    let process = Process::spawn(binary, &args, &[]).unwrap();
    let url = format!("http://{listen}");
    let channel = eventually(Duration::from_secs(20), "it serves", || {
        let endpoint = tonic::transport::Channel::from_shared(url.clone()).unwrap();
        async move { endpoint.connect().await }
    })
    .await;
    let clients = Clients::over(channel);
    let asked = eventually(Duration::from_secs(20), "it answers", || {
        let mut clients = clients.clone();
        async move { clients.kv.range(get("x")).await.map(drop) }
    });
    asked.await;
    (process, clients)
}

/// Writes pairs of keys, each pair in one transaction, until the process is gone.
async fn write(mut clients: Clients, writer: usize, next: Arc<AtomicI64>, acked: Arc<AtomicI64>) {
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let op = |half: &str| {
            let put = put(&format!("/{half}/{writer}"), &number.to_string());
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        };
        let success = vec![op("left"), op("right")];
        let txn = pb::TxnRequest { success, ..pb::TxnRequest::default() };
        match clients.kv.txn(txn).await {
            Ok(_) => acked.store(number, Ordering::SeqCst),
            Err(_) => return,
        }
    }
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
        assert!(revision(all.header) >= newest, "kill {kill}: revisions were lost");
        newest = revision(all.header);
        for writer in 0..WRITERS {
            let left = clients.get(&format!("/left/{writer}")).await;
            let right = clients.get(&format!("/right/{writer}")).await;
            assert_eq!(left, right, "kill {kill}: half a transaction of writer {writer}");
            let found = left.map_or(0, |text| text.parse::<i64>().unwrap());
            let told = acked[writer].load(Ordering::SeqCst);
            assert!(found >= told, "kill {kill}: writer {writer} was told {told}, there is {found}");
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
