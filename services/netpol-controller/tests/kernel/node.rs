//! The node itself: its own traffic, and pods that pretend to be it.

use crate::support::lab::{Lab, NODE_V4, NODE_V6};
use crate::support::objects::policy;
use crate::support::probe::{self, Probe, Transport};
use crate::{cluster, serving};
use netpol_controller::domain::diff::diff;
use serde_json::json;

fn to(lab: &Lab, from: &str, to: &str, port: u16, expected: bool) -> Probe {
    let to = to.parse().unwrap();
    Probe {
        from: lab.host(from).clone(),
        to,
        port,
        transport: Transport::Tcp,
        expected,
    }
}

#[test]
fn the_node_reaches_its_pods_and_is_itself_judged_by_egress() {
    let Some(lab) = serving(&["x/a", "x/b"]) else {
        return;
    };
    let mut objects = cluster(&lab);
    objects.policies.push(policy("x", "deny", json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "policyTypes": ["Ingress", "Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "fd77::/64"}}]}]})));
    lab.node
        .kernel()
        .commit(&diff(None, objects.engine().ruleset()))
        .unwrap();
    let from_node = |v6: bool| {
        let pod = lab.host("x/a");
        let ip = if v6 { pod.v6 } else { pod.v4 };
        lab.node.run(move || {
            std::net::TcpStream::connect_timeout(
                &(ip, 80).into(),
                std::time::Duration::from_secs(10),
            )
            .is_ok()
        })
    };
    assert!(
        from_node(false) && from_node(true),
        "kubelet's probes must pass"
    );
    let probes = vec![
        to(&lab, "x/a", NODE_V4, 80, false),
        to(&lab, "x/a", NODE_V6, 80, true),
        to(&lab, "x/b", NODE_V4, 80, true),
        to(&lab, "x/b", NODE_V6, 80, true),
    ];
    assert_eq!(probe::run(probes), Vec::<String>::new());
}

#[test]
fn a_pod_that_takes_the_nodes_address_does_not_pass_for_the_node() {
    let Some(lab) = serving(&["x/a", "x/b"]) else {
        return;
    };
    let mut objects = cluster(&lab);
    objects.policies.push(policy(
        "x",
        "deny",
        json!({"podSelector": {"matchLabels": {"pod": "a"}}}),
    ));
    lab.node
        .kernel()
        .commit(&diff(None, objects.engine().ruleset()))
        .unwrap();
    let spoofing = lab.host("x/b");
    spoofing.namespace.ip(&format!(
        "addr add {NODE_V6}/128 dev eth0 nodad\nroute change ::/0 via fe80::1 dev eth0 src {NODE_V6}"
    ));
    let victim = lab.host("x/a").clone();
    let heard = victim.namespace.run(|| {
        let socket = std::net::UdpSocket::bind("[::]:99").unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_millis(200)))
            .unwrap();
        socket
    });
    let target = std::net::SocketAddr::from((victim.v6, 99));
    spoofing.namespace.run(move || {
        let socket = std::net::UdpSocket::bind((NODE_V6, 0)).unwrap();
        socket.send_to(b"spoofed", target).unwrap();
    });
    assert!(heard.recv(&mut [0; 16]).is_err());
}
