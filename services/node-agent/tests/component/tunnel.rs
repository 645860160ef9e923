use crate::session::{Node, hello, instruction, node, told, within};
use crate::supervisor::{Seen, Supervisor, Tunnel};
use bytes::Bytes;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::{NodeConfig, OpenTunnel, TunnelData};
use sextant_testkit::eventually;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The kubelet's port on an address that this test has for itself.
async fn kubelet(address: &str) -> Option<TcpListener> {
    match TcpListener::bind((address, 10250)).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            println!("SKIP the kubelet's port is taken here: {error}");
            None
        }
    }
}

/// A node that has this address.
async fn node_at(address: &str, supervisor: &Supervisor, seen: &mut Seen) -> Node {
    let node = node(supervisor).await;
    node.addresses.send_replace(vec![address.parse().unwrap()]);
    while hello(seen).await != [address] {}
    node
}

async fn open(supervisor: &Supervisor, seen: &mut Seen, target: &str) -> (Tunnel, TunnelData) {
    let open = OpenTunnel {
        id: format!("id-{target}"),
        target: target.into(),
    };
    supervisor
        .instruct
        .send(instruction(Instruction::OpenTunnel(open)))
        .await
        .unwrap();
    let mut tunnel = within("a tunnel", seen.tunnels.recv()).await.unwrap();
    assert_eq!(tunnel.id, format!("id-{target}"));
    let first = within("the first message", tunnel.up.message())
        .await
        .unwrap()
        .unwrap();
    (tunnel, first)
}

/// Sends `bytes` down, and gives what comes up.
async fn echo(tunnel: &mut Tunnel, bytes: &'static [u8]) -> Bytes {
    tunnel.down.send(data(bytes)).await.unwrap();
    let up = within("an echo", tunnel.up.message()).await.unwrap();
    up.unwrap().data
}

fn data(bytes: &'static [u8]) -> Result<TunnelData, tonic::Status> {
    Ok(TunnelData {
        data: Bytes::from_static(bytes),
        error: String::new(),
    })
}

async fn serve_echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

#[tokio::test]
async fn tunnels_carry_both_ways_and_half_close() {
    let Some(listener) = kubelet("127.0.0.1").await else {
        return;
    };
    let (supervisor, mut seen) = Supervisor::start().await;
    let _node = node(&supervisor).await;
    hello(&mut seen).await;
    let (mut tunnel, first) = open(&supervisor, &mut seen, "node-1:10250").await;
    assert_eq!((first.error.as_str(), first.data.len()), ("", 0));
    let (mut kubelet, _) = within("the dial", listener.accept()).await.unwrap();

    let question = TunnelData {
        data: Bytes::from_static(b"question"),
        error: String::new(),
    };
    tunnel.down.send(Ok(question)).await.unwrap();
    let mut read = [0; 8];
    within("the question", kubelet.read_exact(&mut read))
        .await
        .unwrap();
    assert_eq!(&read, b"question");

    // The kubelet ends its direction: what it said arrives whole, then the end.
    let answer = vec![7; 1 << 20];
    let writing = tokio::spawn(async move {
        kubelet.write_all(&answer).await.unwrap();
        kubelet.shutdown().await.unwrap();
        kubelet
    });
    let mut received = 0;
    while let Some(message) = within("data", tunnel.up.message()).await.unwrap() {
        assert!(message.data.iter().all(|byte| *byte == 7));
        received += message.data.len();
    }
    assert_eq!(received, 1 << 20);
    // The other direction is still open, until it is ended as well.
    let mut kubelet = writing.await.unwrap();
    let last = TunnelData {
        data: Bytes::from_static(b"bye"),
        error: String::new(),
    };
    tunnel.down.send(Ok(last)).await.unwrap();
    drop(tunnel);
    let mut rest = Vec::new();
    within("the end", kubelet.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn tunnels_have_spans() {
    let recorder = Recorder::default();
    let spans = recorder.0.clone();
    // For all threads: what other tests leave unrecorded would stay so.
    tracing::subscriber::set_global_default(recorder).unwrap();
    let (supervisor, mut seen) = Supervisor::start().await;
    let _node = node(&supervisor).await;
    hello(&mut seen).await;
    open(&supervisor, &mut seen, "9.9.9.9:443").await;
    let spans = spans.lock().unwrap();
    for span in [r#"tunnel id="id-9.9.9.9:443" target="9.9.9.9:443""#, "dial"] {
        assert!(spans.iter().any(|seen| seen == span), "{spans:?}");
    }
}

/// Spans with their fields.
#[derive(Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        *self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut span = attributes.metadata().name().to_owned();
        attributes.record(&mut Fields(&mut span));
        let mut spans = self.0.lock().unwrap();
        spans.push(span);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn stalled_tunnels_hold_up_nobody_else() {
    const STALLED: usize = 16;
    const CHUNK: &[u8] = &[7; 16 << 10];
    let Some(listener) = kubelet("127.0.0.2").await else {
        return;
    };
    let (supervisor, mut seen) = Supervisor::start().await;
    let node = node_at("127.0.0.2", &supervisor, &mut seen).await;
    let sent = Arc::new(AtomicUsize::new(0));
    // The first ones only talk; later ones echo.
    let talking = sent.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if number >= STALLED {
                tokio::spawn(serve_echo(stream));
                continue;
            }
            let sent = talking.clone();
            tokio::spawn(async move {
                while stream.write_all(CHUNK).await.is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let (tunnel, _) = open(&supervisor, &mut seen, "node-1:10250").await;
        let (down, sent) = (tunnel.down.clone(), sent.clone());
        tokio::spawn(async move {
            while down.send(data(CHUNK)).await.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        stalled.push(tunnel);
    }
    let before = AtomicUsize::new(0);
    eventually(Duration::from_secs(20), "all are stalled", || async {
        let now = sent.load(Ordering::Relaxed);
        if before.swap(now, Ordering::Relaxed) == now && now > STALLED {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;

    node.ctx.readiness.task("kubelet").waiting("for the test");
    told(&mut seen, &["kubelet: for the test"]).await;
    let config = NodeConfig {
        pod_cidr: "10.244.7.0/24".into(),
        ..NodeConfig::default()
    };
    let wanted = instruction(Instruction::Config(config.clone()));
    supervisor.instruct.send(wanted).await.unwrap();
    let mut follow = node.last.follow();
    within("the configuration", follow.wait_for(|now| **now == config))
        .await
        .unwrap();
    let (mut another, _) = open(&supervisor, &mut seen, "node-1:10250").await;
    assert_eq!(echo(&mut another, b"hello").await, "hello");
}

#[tokio::test]
async fn tunnels_outlive_a_session_that_ended_without_an_error() {
    let Some(listener) = kubelet("127.0.0.3").await else {
        return;
    };
    let (supervisor, mut seen) = Supervisor::start().await;
    let _node = node_at("127.0.0.3", &supervisor, &mut seen).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_echo(stream));
        }
    });
    let (mut older, _) = open(&supervisor, &mut seen, "node-1:10250").await;
    assert_eq!(echo(&mut older, b"one").await, "one");
    let end = Err(tonic::Status::ok("its connection is old"));
    supervisor.instruct.send(end).await.unwrap();
    hello(&mut seen).await;
    assert_eq!(echo(&mut older, b"two").await, "two");
    let (mut newer, _) = open(&supervisor, &mut seen, "node-1:10250").await;
    assert_eq!(echo(&mut newer, b"three").await, "three");

    // One that broke is another matter.
    let end = Err(tonic::Status::unavailable("stopping"));
    supervisor.instruct.send(end).await.unwrap();
    let cut = within("the end", newer.up.message()).await;
    assert!(!matches!(cut, Ok(Some(_))), "{cut:?}");
}

#[tokio::test]
async fn a_refused_target_is_answered_with_the_reason() {
    let (supervisor, mut seen) = Supervisor::start().await;
    let _node = node(&supervisor).await;
    hello(&mut seen).await;
    for target in ["127.0.0.1:22", "1.1.1.1:443", "node-2:10250", "nonsense"] {
        let (_tunnel, first) = open(&supervisor, &mut seen, target).await;
        assert!(first.error.contains(target), "{target}: {first:?}");
    }
}
