//! The balancer over loopback upstreams that come and go.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use sextant_kit::{Drain, DrainTrigger};
use sextant_runner::balance::{Balancer, Limits};
use sextant_testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Says its name to whoever connects, then everything again that it hears, and `.` at the end.
struct Upstream {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Upstream {
    async fn new(name: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let _ = stream.write_all(&[name]).await;
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.write_all(b".").await;
                });
            }
        });
        Self { address, task }
    }

    /// Closes its listener and its connections.
    fn kill(&self) {
        self.task.abort();
    }
}

struct Balanced {
    address: SocketAddr,
    upstreams: watch::Sender<Vec<String>>,
    trigger: DrainTrigger,
    task: JoinHandle<()>,
}

impl Balanced {
    async fn new(upstreams: &[String], limits: Limits) -> Self {
        let (upstreams, follow) = watch::channel(upstreams.to_vec());
        let balancer = Balancer::bind("127.0.0.1:0".parse().unwrap(), follow)
            .await
            .unwrap();
        let balancer = balancer.with_limits(limits);
        let address = balancer.local_addr().unwrap();
        let (drain, trigger) = Drain::new();
        let task = tokio::spawn(balancer.run(drain));
        Self {
            address,
            upstreams,
            trigger,
            task,
        }
    }

    /// A connection, and the name of the upstream that it went to; None when it was closed.
    async fn connect(&self) -> Option<(TcpStream, u8)> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut name = [0];
        let read = timeout(DEADLINE, stream.read_exact(&mut name))
            .await
            .expect("an answer");
        read.ok().map(|_| (stream, name[0]))
    }

    async fn name(&self) -> Option<u8> {
        self.connect().await.map(|(_, name)| name)
    }
}

fn limits() -> Limits {
    Limits {
        search: Duration::from_secs(2),
        linger: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// Answers `/readyz` at a port of its own with what `status` says.
async fn readiness(status: watch::Receiver<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let answer = format!(
                "HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n",
                *status.borrow()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

async fn three() -> ([Upstream; 3], Vec<String>) {
    let upstreams = [
        Upstream::new(b'a').await,
        Upstream::new(b'b').await,
        Upstream::new(b'c').await,
    ];
    let names = upstreams
        .iter()
        .map(|upstream| upstream.address.to_string())
        .collect();
    (upstreams, names)
}

#[tokio::test]
async fn connections_spread_over_all_upstreams() {
    let (_upstreams, names) = three().await;
    let balanced = Balanced::new(&names, limits()).await;
    let mut open = Vec::new();
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let (stream, name) = balanced.connect().await.unwrap();
        open.push(stream);
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(b'a', 10), (b'b', 10), (b'c', 10)]));
}

#[tokio::test]
async fn upstreams_killed_one_by_one_cost_no_connection() {
    let (upstreams, names) = three().await;
    let balanced = Balanced::new(&names, limits()).await;
    for (dead, left) in [(0, 2), (1, 1)] {
        upstreams[dead].kill();
        for _ in 0..20 {
            let name = balanced.name().await.expect("one that is left");
            assert!(name >= b'c' + 1 - left, "{name}");
        }
    }
    upstreams[2].kill();
    eventually(DEADLINE, "nobody left", || async {
        match balanced.name().await {
            None => Ok(()),
            name => Err(name),
        }
    })
    .await;
    // One that comes back under its old address is found again.
    let listener = TcpListener::bind(upstreams[1].address).await.unwrap();
    let back = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"B").await.unwrap();
    });
    eventually(DEADLINE, "the one that is back", || async {
        match balanced.name().await {
            Some(b'B') => Ok(()),
            name => Err(name),
        }
    })
    .await;
    back.await.unwrap();
}

#[tokio::test]
async fn the_list_changes_under_open_connections_and_never_empties() {
    let (_upstreams, names) = three().await;
    let balanced = Balanced::new(&names[..1], limits()).await;
    let (mut open, name) = balanced.connect().await.unwrap();
    assert_eq!(name, b'a');
    balanced.upstreams.send_replace(names[1..2].to_vec());
    eventually(DEADLINE, "the new upstream", || async {
        match balanced.name().await {
            Some(b'b') => Ok(()),
            name => Err(name),
        }
    })
    .await;
    balanced.upstreams.send_replace(Vec::new());
    balanced
        .upstreams
        .send_replace(vec!["no.such.name.invalid:1".to_owned()]);
    for _ in 0..5 {
        assert_eq!(balanced.name().await, Some(b'b'));
    }
    open.write_all(b"x").await.unwrap();
    let mut byte = [0];
    open.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"x");
}

#[tokio::test]
async fn the_end_of_one_direction_is_passed_on() {
    let (_upstreams, names) = three().await;
    let balanced = Balanced::new(&names, limits()).await;
    let (mut stream, _) = balanced.connect().await.unwrap();
    let sent = vec![7; 300_000];
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(
        received
            .strip_suffix(b".")
            .is_some_and(|echoed| echoed == sent)
    );
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let (_upstreams, names) = three().await;
    let balanced = Balanced::new(
        &names,
        Limits {
            connections: 1,
            ..limits()
        },
    )
    .await;
    let (first, _) = balanced.connect().await.unwrap();
    let mut second = TcpStream::connect(balanced.address).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(100), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    timeout(DEADLINE, second.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_drain_refuses_new_connections_and_leaves_open_ones_some_time() {
    let (_upstreams, names) = three().await;
    let balanced = Balanced::new(
        &names,
        Limits {
            linger: DEADLINE,
            ..limits()
        },
    )
    .await;
    let (mut open, _) = balanced.connect().await.unwrap();
    balanced.trigger.start();
    eventually(DEADLINE, "a refused connection", || async {
        match TcpStream::connect(balanced.address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("accepted"),
        }
    })
    .await;
    open.write_all(b"x").await.unwrap();
    let mut byte = [0];
    open.read_exact(&mut byte).await.unwrap();
    drop(open);
    timeout(DEADLINE, balanced.task)
        .await
        .expect("the end, once all are closed")
        .unwrap();
}

/// Regression: a server that listens and isn't ready yet, or not any more, got connections.
#[tokio::test]
async fn connections_go_where_it_is_ready() {
    let (first, second) = (Upstream::new(b'a').await, Upstream::new(b'b').await);
    let (status, told) = watch::channel(503);
    let port = readiness(told).await;
    // The second's address has no such port: it isn't ready, whatever the first says.
    let other = SocketAddr::from(([127, 0, 0, 2], second.address.port()));
    let names = vec![first.address.to_string(), other.to_string()];
    let (_upstreams, follow) = watch::channel(names);
    let balancer = Balancer::bind("127.0.0.1:0".parse().unwrap(), follow)
        .await
        .unwrap()
        .with_limits(limits())
        .with_ready_port(Some(port));
    let address = balancer.local_addr().unwrap();
    let (drain, _trigger) = Drain::new();
    tokio::spawn(balancer.run(drain));
    let ask = || async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut name = [0];
        stream.read_exact(&mut name).await.map(|_| name[0])
    };
    // Nobody is ready: rather one that isn't than none.
    assert_eq!(ask().await.unwrap(), b'a');
    status.send_replace(200);
    eventually(DEADLINE, "all connections at the ready one", || async {
        for _ in 0..4 {
            let name = ask().await.map_err(|e| e.to_string())?;
            if name != b'a' {
                return Err(name.to_string());
            }
        }
        Ok(())
    })
    .await;
}
