//! A pod can't send as somebody else, and nothing that should get through is lost for that.

use super::node::{Node, settings};
use super::{feed, in_namespace};
use nix::sched::{CloneFlags, setns};
use sextant_proto::supervisor::Peer;
use sextant_testkit::Netns;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// The node, as its neighbours know it.
const NODE: &str = "172.18.0.5";
const OUTSIDE: &str = "172.18.0.6";
const GATEWAY: &str = "10.244.1.1";

/// As kube-proxy would: a node port that leads to pod b, and a Service that leads back to pod a, who asks.
const PROXY: &str = "table ip proxy {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr 172.18.0.5 udp dport 30080 dnat to 10.244.1.8:7000
        ip daddr 10.96.0.5 udp dport 80 dnat to 10.244.1.7:7000
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.1.7 ip daddr 10.244.1.7 masquerade
    }
}";

/// Two pods wired as ptp does it, and a neighbour that is also another node with a pod of its own.
struct Lab {
    a: Netns,
    b: Netns,
    other: Netns,
}

impl Lab {
    fn new() -> Option<Self> {
        // Loose, as hosts may have it: no help against a source that leads anywhere.
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "2").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let lab = Self {
            a: pod("vetha", "10.244.1.7")?,
            b: pod("vethb", "10.244.1.8")?,
            other: Netns::new()?,
        };
        attach("up0", &lab.other);
        batch(&format!(
            "addr add {NODE}/24 dev up0\nlink set up0 up\nroute add default via {OUTSIDE}"
        ));
        for line in [
            &format!("addr add {OUTSIDE}/24 dev eth0"),
            "link set eth0 up",
            "addr add 10.244.2.5/32 dev lo",
            &format!(
                "link add sx-vxlan address 02:00:00:00:00:0b type vxlan id 4097 dstport 8472 \
                 local {OUTSIDE} remote {NODE} nolearning"
            ),
            "addr add 10.244.2.0/32 dev sx-vxlan",
            "link set sx-vxlan up",
            "neigh add 10.244.1.0 lladdr 02:00:00:00:00:0a dev sx-vxlan nud permanent",
            "route add 10.244.1.0/24 via 10.244.1.0 dev sx-vxlan onlink",
        ] {
            lab.other.ip(&Vec::from_iter(line.split_whitespace()));
        }
        Some(lab)
    }
}

fn batch(lines: &str) {
    feed("ip", &["-batch", "-"], lines);
}

fn attach(interface: &str, netns: &Netns) {
    batch(&format!(
        "link add {interface} type veth peer name eth0 netns {}",
        netns.name()
    ));
}

fn pod(interface: &str, address: &str) -> Option<Netns> {
    let pod = Netns::new()?;
    attach(interface, &pod);
    batch(&format!(
        "addr add {GATEWAY}/32 dev {interface}
         addr add fe80::1/64 dev {interface} nodad
         link set {interface} up
         route add {address}/32 dev {interface} scope host"
    ));
    for line in [
        &format!("addr add {address}/32 dev eth0"),
        "addr add fe80::2/64 dev eth0 nodad",
        "link set eth0 up",
        &format!("route add {GATEWAY} dev eth0 scope link"),
        &format!("route add default via {GATEWAY} dev eth0"),
    ] {
        pod.ip(&Vec::from_iter(line.split_whitespace()));
    }
    Some(pod)
}

fn bind(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A socket inside of `netns`.
fn socket(netns: &Netns, address: &str) -> UdpSocket {
    let namespace = File::open(format!("/run/netns/{}", netns.name())).unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            bind(address)
        });
        inside.join().unwrap()
    })
}

/// What the socket receives next, and from whom.
fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
        from,
    )
}

/// `from` asks at `to`, where `server` listens, and gets an answer; returns whom the server saw.
fn exchange(from: &UdpSocket, to: &str, server: &UdpSocket) -> SocketAddr {
    from.send_to(b"question", to).unwrap();
    let (question, seen) = receive(server);
    assert_eq!(question, "question", "to {to}");
    server.send_to(b"answer", seen).unwrap();
    let (answer, by) = receive(from);
    assert_eq!((answer.as_str(), by), ("answer", to.parse().unwrap()));
    seen
}

fn peer() -> Peer {
    Peer {
        name: "node-2".into(),
        addresses: vec![OUTSIDE.into()],
        pod_cidr: "10.244.2.0/24".into(),
        vtep_mac: "02:00:00:00:00:0b".into(),
    }
}

#[test]
fn a_pod_sends_from_its_own_address_only() {
    in_namespace(|| async {
        let Some(lab) = Lab::new() else { return };
        let pod = socket(&lab.b, "10.244.1.8:7000");
        let node = bind("10.244.1.1:7000");
        let node_v6 = bind("[::]:7001");
        let honest = socket(&lab.a, "10.244.1.7:0");
        // A pod that nobody has, one elsewhere, a neighbour, a Service.
        let sources = ["10.244.1.99", "10.244.2.5", OUTSIDE, "10.96.0.10"];
        let spoofed: Vec<_> = sources
            .map(|source| {
                lab.a
                    .ip(&["addr", "add", &format!("{source}/32"), "dev", "lo"]);
                socket(&lab.a, &format!("{source}:0"))
            })
            .into();
        let v6 = socket(&lab.a, "[::]:0");
        let send = |socket: &UdpSocket, to: &str| {
            socket.send_to(b"spoofed", to).unwrap();
        };
        // Before the agent: the packets are as they should be, and arrive.
        send(&spoofed[1], "10.244.1.8:7000");
        assert_eq!(receive(&pod).1.ip().to_string(), "10.244.2.5");
        send(&v6, "[fe80::1%2]:7001");
        assert_eq!(receive(&node_v6).0, "spoofed");

        let _node = Node::start(NODE, settings(true, vec![peer()])).await;
        for socket in &spoofed {
            send(socket, "10.244.1.8:7000");
            send(socket, "10.244.1.1:7000");
        }
        send(&v6, "[fe80::1%2]:7001");
        for (to, server) in [("10.244.1.8:7000", &pod), ("10.244.1.1:7000", &node)] {
            assert_eq!(exchange(&honest, to, server), honest.local_addr().unwrap());
        }
        honest.send_to(b"v4", "10.244.1.1:7001").unwrap();
        assert_eq!(receive(&node_v6).0, "v4");
    });
}

#[test]
fn what_should_get_through_does() {
    in_namespace(|| async {
        let Some(lab) = Lab::new() else { return };
        let _node = Node::start(NODE, settings(true, vec![peer()])).await;
        feed("nft", &["-f", "-"], PROXY);
        let (a, b) = (
            socket(&lab.a, "10.244.1.7:7000"),
            socket(&lab.b, "10.244.1.8:7000"),
        );
        let outside = socket(&lab.other, &format!("{OUTSIDE}:7000"));
        let remote = socket(&lab.other, "10.244.2.5:7000");
        let seen = |from: &UdpSocket, to: &str, server: &UdpSocket| {
            exchange(from, to, server).ip().to_string()
        };
        // A pod of this node, one behind the overlay in both directions, and the world under the node's address.
        assert_eq!(seen(&a, "10.244.1.8:7000", &b), "10.244.1.7");
        assert_eq!(seen(&a, "10.244.2.5:7000", &remote), "10.244.1.7");
        assert_eq!(seen(&remote, "10.244.1.8:7000", &b), "10.244.2.5");
        assert_eq!(seen(&a, &format!("{OUTSIDE}:7000"), &outside), NODE);
        // A node port, and a pod that reaches itself through its Service.
        assert_eq!(seen(&outside, &format!("{NODE}:30080"), &b), OUTSIDE);
        let asking = socket(&lab.a, "10.244.1.7:0");
        assert_eq!(seen(&asking, "10.96.0.5:80", &a), GATEWAY);
    });
}
