//! The tunnel, end to end: kube-apiserver's side, the supervisor, a node, and what the node dials.

use crate::nodes::{Session, identity, joined};
use crate::rig::{DEADLINE, Replica, Rig};
use bytes::Bytes;
use sextant_identity::{Channel, ServiceName};
use sextant_proto::supervisor::egress_client::EgressClient;
use sextant_proto::supervisor::egress_data::Message;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use sextant_proto::supervisor::{EgressData, EgressOpen, OpenTunnel, TunnelData};
use sextant_testkit::eventually;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

struct ApiEnd {
    up: mpsc::Sender<EgressData>,
    down: Streaming<EgressData>,
}

struct NodeEnd {
    up: mpsc::Sender<TunnelData>,
    down: Streaming<TunnelData>,
}

fn data(text: &[u8]) -> EgressData {
    EgressData {
        message: Some(Message::Data(Bytes::copy_from_slice(text))),
    }
}

fn chunk(text: &[u8]) -> TunnelData {
    TunnelData {
        data: Bytes::copy_from_slice(text),
        error: String::new(),
    }
}

async fn connect(rig: &Rig, replica: &Replica, target: &str) -> Result<ApiEnd, Status> {
    let mut client = EgressClient::new(rig.internal(replica, ServiceName::KubeApiserver));
    let (up, requests) = mpsc::channel(1);
    let open = EgressOpen {
        target: target.into(),
        relayed: false,
    };
    up.send(EgressData {
        message: Some(Message::Open(open)),
    })
    .await
    .unwrap();
    let mut down = client
        .connect(ReceiverStream::new(requests))
        .await?
        .into_inner();
    let first = down.message().await?.unwrap();
    assert!(
        matches!(first.message, Some(Message::Opened(_))),
        "{first:?}"
    );
    Ok(ApiEnd { up, down })
}

async fn next_open(session: &mut Session) -> OpenTunnel {
    loop {
        if let Instruction::OpenTunnel(open) = session.next().await.unwrap() {
            return open;
        }
    }
}

async fn answer(channel: Channel, id: &str, first: TunnelData) -> Result<NodeEnd, Status> {
    let (up, requests) = mpsc::channel(1);
    up.send(first).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(requests));
    request
        .metadata_mut()
        .insert("sextant-tunnel-id", id.parse().unwrap());
    let down = NodeSessionClient::new(channel)
        .tunnel(request)
        .await?
        .into_inner();
    Ok(NodeEnd { up, down })
}

/// Both ends of a connection to the kubelet of `n`, whose session is `session`.
async fn open(rig: &Rig, at: &Replica, from: &Replica, session: &mut Session) -> (ApiEnd, NodeEnd) {
    let node = async {
        let asked = next_open(session).await;
        assert_eq!(asked.target, "n:10250");
        answer(rig.public(at, identity("n")), &asked.id, chunk(b""))
            .await
            .unwrap()
    };
    let (api, node) = tokio::join!(connect(rig, from, "n:10250"), node);
    (api.unwrap(), node)
}

async fn from_node(down: &mut Streaming<EgressData>) -> Option<Bytes> {
    match timeout(DEADLINE, down.message())
        .await
        .unwrap()
        .unwrap()?
        .message
    {
        Some(Message::Data(data)) => Some(data),
        other => panic!("{other:?}"),
    }
}

async fn from_api(down: &mut Streaming<TunnelData>) -> Option<Bytes> {
    timeout(DEADLINE, down.message())
        .await
        .unwrap()
        .unwrap()
        .map(|message| message.data)
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_closes_on_its_own() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut session = joined(&rig, &replica, "n").await;
    for api_closes_first in [true, false] {
        let (mut api, mut node) = open(&rig, &replica, &replica, &mut session).await;
        api.up.send(data(b"GET /")).await.unwrap();
        assert_eq!(from_api(&mut node.down).await.unwrap(), "GET /");
        if api_closes_first {
            drop(api.up);
            assert_eq!(from_api(&mut node.down).await, None);
            node.up.send(chunk(b"answer")).await.unwrap();
            assert_eq!(from_node(&mut api.down).await.unwrap(), "answer");
            drop(node.up);
            let ended = timeout(DEADLINE, api.down.message())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(ended, None);
        } else {
            drop(node.up);
            assert_eq!(from_node(&mut api.down).await, None);
            for part in [b"one", b"two"] {
                api.up.send(data(part)).await.unwrap();
                assert_eq!(from_api(&mut node.down).await.unwrap(), &part[..]);
            }
            drop(api.up);
            assert_eq!(from_api(&mut node.down).await, None);
        }
    }
}

#[tokio::test]
async fn a_reader_that_stalls_holds_its_writer_back_and_nobody_else() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut session = joined(&rig, &replica, "n").await;
    let (stalled, node) = open(&rig, &replica, &replica, &mut session).await;
    let (mut busy, mut other) = open(&rig, &replica, &replica, &mut session).await;
    let block = vec![7_u8; 64 * 1024];
    let mut sent = 0_usize;
    // The writer is held back once windows and queues are full: far below what it wants to send.
    while timeout(
        std::time::Duration::from_millis(500),
        node.up.send(chunk(&block)),
    )
    .await
    .is_ok()
    {
        sent += block.len();
        assert!(sent < 64 << 20, "nothing holds the writer back");
    }
    for round in 0..50_u8 {
        other.up.send(chunk(&[round; 1000])).await.unwrap();
        assert_eq!(from_node(&mut busy.down).await.unwrap().len(), 1000);
        busy.up.send(data(&[round; 1000])).await.unwrap();
        assert_eq!(from_api(&mut other.down).await.unwrap().len(), 1000);
    }
    drop(stalled);
    timeout(DEADLINE, node.up.closed())
        .await
        .expect("the node learns that nobody reads");
}

#[tokio::test]
async fn what_no_node_opens_is_counted_and_a_wrong_target_is_not() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let session = joined(&rig, &replica, "n").await;
    let code = async |target: &str| {
        connect(&rig, &replica, target)
            .await
            .err()
            .map(|e| e.code())
    };
    let failures = || {
        let text = replica.ctx.metrics.encode().unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("sextant_tunnel_open_failures"));
        line.map(str::to_owned)
    };
    assert_eq!(code("m:10250").await, Some(Code::PermissionDenied));
    assert_eq!(
        failures().as_deref(),
        Some("sextant_tunnel_open_failures_total 0")
    );
    drop(session);
    eventually(
        DEADLINE,
        "a node without a session is unavailable",
        || async {
            match code("n:10250").await {
                Some(Code::Unavailable) => Ok(()),
                other => Err(other),
            }
        },
    )
    .await;
    assert_ne!(
        failures().as_deref(),
        Some("sextant_tunnel_open_failures_total 0")
    );
}

#[tokio::test]
async fn refusals_say_why() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut session = joined(&rig, &replica, "n").await;
    let code = async |target: &str| connect(&rig, &replica, target).await.err().unwrap();
    for target in [
        "m:10250",
        "n:22",
        "127.0.0.1:10250",
        "172.18.0.9:10250",
        "n",
    ] {
        assert_eq!(
            code(target).await.code(),
            Code::PermissionDenied,
            "{target}"
        );
    }
    let failing = async {
        let asked = next_open(&mut session).await;
        let error = TunnelData {
            data: Bytes::new(),
            error: "connection refused".into(),
        };
        let _ = answer(rig.public(&replica, identity("n")), &asked.id, error).await;
    };
    let (refused, ()) = tokio::join!(code("n:10250"), failing);
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains("connection refused"),
        "{refused}"
    );
    // Another node can't take a connection that isn't its own, nor can anybody make one up.
    joined(&rig, &replica, "thief").await;
    let stolen = async {
        let asked = next_open(&mut session).await;
        let thief = rig.public(&replica, identity("thief"));
        let refused = answer(thief, &asked.id, chunk(b"")).await.err().unwrap();
        assert_eq!(refused.code(), Code::NotFound);
        answer(rig.public(&replica, identity("n")), &asked.id, chunk(b""))
            .await
            .unwrap()
    };
    let (api, _node) = tokio::join!(connect(&rig, &replica, "n:10250"), stolen);
    api.unwrap();
    drop(session);
    eventually(DEADLINE, "no session", || async {
        match connect(&rig, &replica, "n:10250").await {
            Err(status) if status.message().contains("no session") => Ok(()),
            other => Err(other.err()),
        }
    })
    .await;
}

#[tokio::test]
async fn another_supervisor_relays() {
    let rig = Rig::new().await;
    let (holder, other) = (rig.supervisor().await, rig.supervisor().await);
    let mut session = joined(&rig, &holder, "n").await;
    eventually(
        DEADLINE,
        "the other supervisor knows the session",
        || async {
            let keys = rig.store.keys("/sextant/supervisor/sessions/n/");
            if keys.is_empty() { Err(keys) } else { Ok(()) }
        },
    )
    .await;
    let (mut api, mut node) = open(&rig, &holder, &other, &mut session).await;
    api.up.send(data(b"over")).await.unwrap();
    assert_eq!(from_api(&mut node.down).await.unwrap(), "over");
    drop(api.up);
    assert_eq!(from_api(&mut node.down).await, None);
    node.up.send(chunk(b"and out")).await.unwrap();
    assert_eq!(api.down.message().await.unwrap().unwrap(), data(b"and out"));
    drop(node);
    assert_eq!(api.down.message().await.unwrap(), None);
}
