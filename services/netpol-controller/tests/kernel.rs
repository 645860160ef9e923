//! The table in a real kernel: real packets through a node's forward and input hooks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod support;

use netpol_controller::domain::diff::{Plan, diff};
use netpol_controller::domain::ruleset::{Hook, Ruleset};
use netpol_controller::domain::verdict::{Packet, Tracked, passes};
use netpol_controller::nft::kernel::Kernel;
use serde_json::{Value, json};
use support::cases::{Case, Try, cases};
use support::lab::{Lab, NODE_V4, NODE_V6};
use support::objects::{Objects, namespace, pod, policy};
use support::probe::{self, Probe, Transport};

const HOSTS: [&str; 10] = [
    "x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c", "outside",
];

/// The pods and namespaces of a lab, without policies.
fn cluster(lab: &Lab) -> Objects {
    let mut objects = Objects::default();
    for host in &lab.hosts {
        let Some((ns, name)) = host.name.split_once('/') else {
            continue;
        };
        if !objects
            .namespaces
            .iter()
            .any(|known| known.metadata.name.as_deref() == Some(ns))
        {
            objects.namespaces.push(namespace(ns, json!({"ns": ns})));
        }
        let ips = [host.v4.to_string(), host.v6.to_string()];
        objects.pods.push(pod(ns, name, json!({"pod": name}), &ips));
    }
    objects
}

fn serving(names: &[&str]) -> Option<Lab> {
    let lab = Lab::new(names)?;
    for namespace in lab
        .hosts
        .iter()
        .map(|host| &host.namespace)
        .chain([&lab.node])
    {
        probe::serve(namespace, 80);
        probe::serve(namespace, 81);
    }
    Some(lab)
}

/// Everybody to everybody.
fn probes(lab: &Lab, case: &Case, ruleset: &Ruleset) -> Vec<Probe> {
    let mut probes = Vec::new();
    for from in &lab.hosts {
        for to in lab.hosts.iter().filter(|to| to.name != from.name) {
            for (transport, port, v6) in [
                (Transport::Tcp, 80, false),
                (Transport::Tcp, 81, false),
                (Transport::Tcp, 80, true),
                (Transport::Tcp, 81, true),
                (Transport::Udp, 80, false),
                (Transport::Udp, 80, true),
            ] {
                let attempt = Try {
                    from: &from.name,
                    to: &to.name,
                    port,
                    transport,
                    v6,
                };
                let expected = (case.passes)(&attempt);
                let packet = Packet {
                    source: if v6 { from.v6 } else { from.v4 },
                    destination: if v6 { to.v6 } else { to.v4 },
                    protocol: if transport == Transport::Tcp { 6 } else { 17 },
                    port,
                    tracked: Tracked::New,
                };
                let read = passes(ruleset, Hook::Forward, &packet);
                assert_eq!(read, expected, "{}: {attempt:?} by the ruleset", case.name);
                let to = packet.destination;
                probes.push(Probe {
                    from: from.clone(),
                    to,
                    port,
                    transport,
                    expected,
                });
            }
        }
    }
    probes
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn the_cases_of_the_kubernetes_tests_hold_on_the_kernel() {
    let Some(lab) = serving(&HOSTS) else { return };
    let mut kernel = lab.node.kernel();
    let mut held: Option<Ruleset> = None;
    for case in cases() {
        let mut objects = cluster(&lab);
        objects.policies = case.policies.clone();
        let wanted = objects.engine().ruleset().clone();
        kernel.commit(&diff(held.as_ref(), &wanted)).unwrap();
        let left = kernel.compare(&wanted).unwrap();
        assert_eq!(
            left,
            Some(Plan::default()),
            "{}: the kernel holds something else",
            case.name
        );
        assert_eq!(
            probe::run(probes(&lab, &case, &wanted)),
            nothing(),
            "{}",
            case.name
        );
        for (from, port) in [("x/b", 80), ("y/a", 80), ("y/a", 81)] {
            let (from, to) = (lab.host(from), lab.host("x/a"));
            let attempt = Try {
                from: &from.name,
                to: "x/a",
                port,
                transport: Transport::Sctp,
                v6: false,
            };
            let expected = (case.passes)(&attempt);
            assert_eq!(
                probe::sctp(from, to, port, expected),
                expected,
                "{}: {attempt:?}",
                case.name
            );
        }
        held = Some(wanted);
    }
}

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
    assert_eq!(probe::run(probes), nothing());
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

/// The ruleset as `nft` prints it, without our table.
fn foreign_tables(lab: &Lab) -> String {
    let mut text = lab.node.nft("list ruleset");
    if let Some(start) = text.find("table inet sextant-netpol {") {
        let end = text[start..].find("\n}\n").unwrap() + start + 3;
        text.replace_range(start..end, "");
    }
    text
}

#[test]
fn other_tables_stay_byte_for_byte_and_nothing_of_ours_stays_after_cleanup() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    lab.node.nft(
        "add table ip kube-proxy
         add set ip kube-proxy s { type ipv4_addr; elements = { 10.96.0.1 }; }
         add chain ip kube-proxy forward { type filter hook forward priority -110; }
         add rule ip kube-proxy forward ip daddr @s counter accept
         add table inet other
         add chain inet other input { type filter hook input priority 5; }
         add rule inet other input counter drop
         add table inet sextant
         add chain inet sextant c
         add rule inet sextant c drop",
    );
    let before = foreign_tables(&lab);
    let mut kernel = lab.node.kernel();
    let mut held: Option<Ruleset> = None;
    for case in cases() {
        let mut objects = cluster(&lab);
        objects.policies = case.policies;
        let wanted = objects.engine().ruleset().clone();
        kernel.commit(&diff(held.as_ref(), &wanted)).unwrap();
        held = Some(wanted);
    }
    assert_eq!(foreign_tables(&lab), before);
    assert!(
        lab.node
            .nft("list ruleset")
            .contains("table inet sextant-netpol")
    );
    assert!(kernel.remove().unwrap());
    assert_eq!(lab.node.nft("list ruleset"), before);
    assert!(!kernel.remove().unwrap(), "a second cleanup finds nothing");
}

#[test]
fn nft_reads_the_table_as_it_was_meant() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let mut objects = cluster(&lab);
    objects.policies.push(policy("x", "p", json!({"podSelector": {}, "ingress": [
        {"from": [{"podSelector": {}}], "ports": [{"port": 80}, {"port": 90, "endPort": 99, "protocol": "UDP"}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9"]}}]}]})));
    lab.node
        .kernel()
        .commit(&diff(None, objects.engine().ruleset()))
        .unwrap();
    let listed = lab.node.run(|| {
        let list = ["-j", "list", "table", "inet", "sextant-netpol"];
        std::process::Command::new("nft")
            .args(list)
            .output()
            .unwrap()
            .stdout
    });
    let listed: Value = serde_json::from_slice(&listed).unwrap();
    let listed = listed["nftables"].as_array().unwrap();
    let base: Vec<_> = listed
        .iter()
        .filter_map(|entry| entry["chain"]["hook"].as_str())
        .collect();
    assert_eq!(base, ["forward", "input"]);
    let map = |name: &str| {
        let mut maps = listed.iter().map(|entry| &entry["map"]);
        maps.find(|map| {
            map["name"]
                .as_str()
                .is_some_and(|full| full.starts_with(name))
        })
        .unwrap()
    };
    let ingress = map("ingress4")["elem"].as_array().unwrap();
    let pods: Vec<_> = ingress
        .iter()
        .map(|entry| entry[0].as_str().unwrap())
        .collect();
    assert_eq!(pods.len(), 2);
    let text = lab.node.nft("list table inet sextant-netpol");
    for expected in [
        "ct state established ct direction reply accept",
        "type filter hook forward priority filter + 10; policy accept;",
        "ip daddr vmap @ingress4",
        "ip6 saddr vmap @egress6",
        "meta l4proto . th dport vmap @ports-",
        "tcp . 80 : goto peers-",
        "udp . 90-99 : goto peers-",
        "elements = { 10.128.0.0/9 }",
    ] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
}

/// A table with the policy "b may reach a on 80".
fn some_table(lab: &Lab) -> (Kernel, Ruleset) {
    let mut objects = cluster(lab);
    objects.policies.push(policy(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}),
    ));
    let mut kernel = lab.node.kernel();
    let wanted = objects.engine().ruleset().clone();
    kernel.enforce(&wanted).unwrap();
    (kernel, wanted)
}

#[test]
fn a_table_of_an_earlier_run_is_taken_over_without_a_message() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let (_, wanted) = some_table(&lab);
    let (plan, cost) = lab.node.kernel().enforce(&wanted).unwrap();
    assert!(plan.is_empty() && cost.messages == 0, "{plan:?}");
}

#[test]
fn foreign_changes_of_our_table_are_undone() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let (mut kernel, wanted) = some_table(&lab);
    for vandalism in [
        "delete table inet sextant-netpol",
        "flush chain inet sextant-netpol forward",
        "insert rule inet sextant-netpol forward accept",
        "add rule inet sextant-netpol input accept",
        "add element inet sextant-netpol isolated4 { 10.9.9.9 }",
        "flush map inet sextant-netpol ingress4",
        "add set inet sextant-netpol more { type ipv4_addr; }",
        "add set inet sextant-netpol more { type mark; }",
        "add chain inet sextant-netpol more { type filter hook output priority 3; drop; }",
        "add chain inet sextant-netpol more { drop; }; add rule inet sextant-netpol input jump more",
        "delete table inet sextant-netpol; add table inet sextant-netpol; \
         add set inet sextant-netpol egress4 { type ipv4_addr; }",
    ] {
        lab.node.nft(vandalism);
        let (plan, _) = kernel
            .enforce(&wanted)
            .unwrap_or_else(|e| panic!("{vandalism}: {e}"));
        assert!(!plan.is_empty(), "{vandalism}: not noticed");
        assert_eq!(
            kernel.compare(&wanted).unwrap(),
            Some(Plan::default()),
            "{vandalism}"
        );
    }
}

#[test]
fn a_change_costs_few_messages_and_a_big_load_is_cut_into_transactions() {
    let Some(lab) = Lab::new(&["x/a"]) else {
        return;
    };
    let mut objects = cluster(&lab);
    for index in 0..20_000 {
        let ip = format!(
            "10.{}.{}.{}",
            1 + index / 65_536,
            index / 256 % 256,
            index % 256
        );
        objects
            .pods
            .push(pod("x", &format!("p{index}"), json!({"pod": "b"}), &[ip]));
        objects
            .pods
            .last_mut()
            .unwrap()
            .spec
            .as_mut()
            .unwrap()
            .node_name = Some("node-2".into());
    }
    objects.policies.push(policy(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]}),
    ));
    let mut engine = objects.engine();
    let first = engine.ruleset().clone();
    let mut kernel = lab.node.kernel();
    let cost = kernel.commit(&diff(None, &first)).unwrap();
    assert!(cost.commits > 1, "{cost:?}");
    let mut one = objects.pods.pop().unwrap();
    one.metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("pod".into(), "c".into());
    engine.apply(support::objects::pod_change(&one));
    let plan = diff(Some(&first), engine.ruleset());
    let cost = kernel.commit(&plan).unwrap();
    assert_eq!((cost.messages, cost.commits), (1, 1), "{plan:?}");
    assert_eq!(
        kernel.compare(engine.ruleset()).unwrap(),
        Some(Plan::default())
    );
}
