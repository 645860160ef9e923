//! What becomes of connections that a new policy forbids.

use crate::running::{PATIENCE, Running, SILENCE, deny_a, hosts, in_node};
use crate::support::lab::{Lab, Namespace};
use netpol_controller::conntrack;
use netpol_controller::domain::frame::Established;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;

/// Listens in a pod, and writes without end to whoever connects.
fn pour(namespace: &Namespace, port: u16) {
    namespace.run(move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || while stream.write_all(b"more").is_ok() {});
            }
        });
    });
}

fn connect(namespace: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    namespace.run(move || TcpStream::connect_timeout(&(to, port).into(), PATIENCE).unwrap())
}

/// Reads until nothing comes for [`SILENCE`] (`true`), or for [`PATIENCE`] if something always comes.
fn falls_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    let mut buffer = [0; 65_536];
    while std::time::Instant::now() < end {
        if stream.read(&mut buffer).is_err() {
            return true;
        }
    }
    false
}

fn goes_on(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // More than any buffer on the way holds.
    let mut buffer = vec![0; 32 * 1024 * 1024];
    stream.read_exact(&mut buffer).is_ok()
}

/// Connections to a from b (which the policy then forbids) and from c (which it allows).
fn with_connections(
    established: Established,
    then: fn(TcpStream, TcpStream, UdpSocket, UdpSocket),
) {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let (a, b, c) = (
        lab.host("x/a").clone(),
        lab.host("x/b").clone(),
        lab.host("x/c").clone(),
    );
    let hosts = hosts(&lab);
    pour(&a.namespace, 80);
    let (proceed, go) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel::<()>();
    let node = lab.node.clone();
    let (a_ip, b_ip) = (a.v4, b.v4);
    let scenario = std::thread::spawn(move || {
        in_node(&node, move || async move {
            let mut running = Running::start(&hosts, established).await;
            ready.send(()).unwrap();
            tokio::task::spawn_blocking(move || go.recv().unwrap())
                .await
                .unwrap();
            running.api.put("networkpolicies", &deny_a());
            running.until(b_ip, a_ip, 80, false).await;
            if established == Established::Cut {
                let end = Instant::now() + Duration::from_secs(1);
                loop {
                    let tracked = tokio::task::spawn_blocking(|| conntrack::list().unwrap())
                        .await
                        .unwrap();
                    let forbidden = |c: &conntrack::Connection| {
                        c.packet.source == b_ip && c.packet.destination == a_ip
                    };
                    if !tracked.iter().any(forbidden) {
                        break;
                    }
                    assert!(
                        Instant::now() < end,
                        "still tracked after a second: {tracked:?}"
                    );
                }
            }
            running.stop().await;
        });
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
    let forbidden = connect(&b.namespace, a.v4, 80);
    let allowed = connect(&c.namespace, a.v4, 80);
    let server = a.namespace.run(|| UdpSocket::bind("0.0.0.0:90").unwrap());
    let client = b.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect((a.v4, 90)).unwrap();
    client.send(b"hello").unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    server.connect(from).unwrap();
    server.send(b"hello").unwrap();
    client.recv(&mut [0; 8]).unwrap();
    proceed.send(()).unwrap();
    scenario.join().unwrap();
    then(forbidden, allowed, client, server);
}

#[test]
fn connections_that_a_new_policy_forbids_are_cut_and_others_live() {
    with_connections(
        Established::Cut,
        |mut forbidden, mut allowed, client, server| {
            assert!(
                falls_silent(&mut forbidden),
                "the forbidden connection goes on"
            );
            assert!(goes_on(&mut allowed), "the allowed connection was cut");
            server.set_read_timeout(Some(SILENCE)).unwrap();
            client.send(b"still there?").unwrap();
            assert!(
                server.recv(&mut [0; 16]).is_err(),
                "forbidden datagrams arrive"
            );
        },
    );
}

#[test]
fn connections_live_on_where_that_is_asked_for() {
    with_connections(
        Established::Keep,
        |mut forbidden, mut allowed, client, server| {
            assert!(goes_on(&mut forbidden) && goes_on(&mut allowed));
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            client.send(b"still there?").unwrap();
            assert!(server.recv(&mut [0; 16]).is_ok());
        },
    );
}
