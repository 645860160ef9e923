//! Random clusters: few labels, few addresses, so that everything meets everything.

use super::objects::{NODE, Objects, namespace, policy};
use super::spec::End;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Ports around every boundary that policies here can have.
pub const PORTS: [u16; 12] = [1, 79, 80, 81, 82, 89, 90, 99, 100, 101, 65_534, 65_535];
/// Protocols; ICMP stands for what has no ports.
pub const PROTOCOLS: [(&str, u8); 4] = [("TCP", 6), ("UDP", 17), ("SCTP", 132), ("ICMP", 1)];
const OUTSIDE: [&str; 12] = [
    "0.0.0.0",
    "9.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "11.0.0.0",
    "192.168.1.1",
    "255.255.255.255",
    "::",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "64:ff9b::7",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const BLOCKS: [(&str, &[&str]); 12] = [
    (
        "0.0.0.0/0",
        &["10.0.0.0/8", "10.0.0.0/9", "255.255.255.255/32"],
    ),
    (
        "10.0.0.0/8",
        &["10.244.0.0/16", "10.0.0.0/32", "10.244.1.1/32"],
    ),
    ("10.244.0.0/16", &["10.244.1.0/24", "10.244.2.0/24"]),
    ("10.244.1.0/30", &["10.244.1.2/32", "10.244.1.2/31"]),
    ("192.168.0.0/16", &["192.168.1.1/32"]),
    ("0.0.0.0/32", &[]),
    ("255.255.255.255/32", &[]),
    ("::/0", &["fd00::/8", "2000::/3", "::/128"]),
    ("fd44::/64", &["fd44::2/127"]),
    ("2001:db8::/32", &["2001:db8::/128"]),
    ("64:ff9b::/96", &[]),
    ("ffff::/16", &["ffff::/17"]),
];
const NAMES: [&str; 3] = ["web", "dns", "none"];

fn labels() -> impl Strategy<Value = Value> {
    let value = || prop::option::of(prop::sample::select(vec!["1", "2"]));
    (value(), value()).prop_map(|(a, b)| {
        let mut labels = json!({});
        for (key, value) in [("a", a), ("b", b)] {
            if let Some(value) = value {
                labels[key] = value.into();
            }
        }
        labels
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let expression = (
        prop::sample::select(vec!["a", "b"]),
        prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]),
        prop::sample::subsequence(vec!["1", "2"], 1..=2),
    );
    let expression = expression.prop_map(|(key, operator, values)| match operator {
        "In" | "NotIn" => json!({"key": key, "operator": operator, "values": values}),
        _ => json!({"key": key, "operator": operator}),
    });
    prop_oneof![
        2 => Just(json!({})),
        2 => labels().prop_map(|labels| json!({"matchLabels": labels})),
        1 => prop::collection::vec(expression, 1..3).prop_map(|e| json!({"matchExpressions": e})),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    prop::sample::select(BLOCKS.to_vec()).prop_flat_map(|(cidr, except)| {
        let most = except.len();
        prop::sample::subsequence(except.to_vec(), 0..=most)
            .prop_map(move |except| json!({"ipBlock": {"cidr": cidr, "except": except}}))
    })
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        block(),
        selector().prop_map(|pods| json!({"podSelector": pods})),
        selector().prop_map(|spaces| json!({"namespaceSelector": spaces})),
        (selector(), selector())
            .prop_map(|(spaces, pods)| json!({"namespaceSelector": spaces, "podSelector": pods})),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop::option::of(prop::sample::select(vec!["TCP", "UDP", "SCTP"]));
    let number = prop_oneof![
        Just(json!({})),
        prop::sample::select(vec![1, 80, 81, 100, 65_535]).prop_map(|port| json!({"port": port})),
        prop::sample::select(vec![
            (80, 81),
            (80, 100),
            (90, 100),
            (1, 65_535),
            (100, 100),
            (65_534, 65_535)
        ])
        .prop_map(|(port, end)| json!({"port": port, "endPort": end})),
        prop::sample::select(NAMES.to_vec()).prop_map(|name| json!({"port": name})),
    ];
    (number, protocol).prop_map(|(mut port, protocol)| {
        if let Some(protocol) = protocol {
            port["protocol"] = protocol.into();
        }
        port
    })
}

fn rules(peers: &'static str) -> impl Strategy<Value = Option<Value>> {
    let rule = (
        prop::option::of(prop::collection::vec(peer(), 0..3)),
        prop::option::of(prop::collection::vec(port(), 0..3)),
    );
    let rule = rule.prop_map(move |(ends, ports)| {
        let mut rule = json!({});
        if let Some(ends) = ends {
            rule[peers] = ends.into();
        }
        if let Some(ports) = ports {
            rule["ports"] = ports.into();
        }
        rule
    });
    prop::option::of(prop::collection::vec(rule, 0..3).prop_map(Value::from))
}

pub fn any_policy(index: usize) -> impl Strategy<Value = NetworkPolicy> {
    let types = prop::option::of(prop::sample::subsequence(vec!["Ingress", "Egress"], 0..=2));
    let parts = (
        prop::sample::select(vec!["x", "y"]),
        selector(),
        types,
        rules("from"),
        rules("to"),
    );
    parts.prop_map(move |(ns, pods, types, ingress, egress)| {
        let mut spec = json!({"podSelector": pods});
        for (key, value) in [
            ("policyTypes", types.map(Value::from)),
            ("ingress", ingress),
            ("egress", egress),
        ] {
            if let Some(value) = value {
                spec[key] = value;
            }
        }
        policy(ns, &format!("p{index}"), spec)
    })
}

/// A pod in one of few states; its addresses follow from its number.
pub fn any_pod(index: usize) -> impl Strategy<Value = Pod> {
    let port = (
        prop::sample::select(NAMES.to_vec()),
        prop::sample::select(vec![80, 81, 100]),
        prop::sample::select(vec!["TCP", "UDP", "SCTP"]),
    );
    let port = port.prop_map(|(name, number, protocol)| {
        json!({"name": name, "containerPort": number, "protocol": protocol})
    });
    let parts = (
        prop::sample::select(vec!["x", "y", "z"]),
        labels(),
        prop::collection::vec(port, 0..3),
        prop::sample::select(vec![NODE, NODE, NODE, "node-2"]),
        prop::sample::select(vec![
            "Running",
            "Running",
            "Running",
            "Pending",
            "Succeeded",
            "Failed",
        ]),
        prop::sample::select(vec![false, false, false, false, true]),
    );
    parts.prop_map(move |(ns, labels, ports, node, phase, host_network)| {
        let (v4, v6) = (
            format!("10.244.{}.{}", 1 + index / 4, index % 4),
            format!("fd44::{index}"),
        );
        serde_json::from_value(json!({
            "metadata": {"namespace": ns, "name": format!("pod-{index}"), "labels": labels,
                "uid": format!("uid-{index}"), "creationTimestamp": "2026-11-23T00:00:00Z"},
            "spec": {"nodeName": node, "hostNetwork": host_network,
                "containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": phase, "podIPs": [{"ip": v4}, {"ip": v6}]},
        }))
        .unwrap()
    })
}

pub fn any_objects() -> impl Strategy<Value = Objects> {
    let namespaces = [labels(), labels(), labels()];
    let pods: Vec<_> = (0..6).map(any_pod).collect();
    let policies =
        (0_usize..5).prop_flat_map(|count| (0..count).map(any_policy).collect::<Vec<_>>());
    (namespaces, pods, policies).prop_map(|(labels, pods, policies)| {
        let namespaces = ["x", "y", "z"].into_iter().zip(labels);
        let namespaces = namespaces
            .map(|(name, labels)| namespace(name, labels))
            .collect();
        Objects {
            namespaces,
            pods,
            policies,
        }
    })
}

/// Everybody who could send or receive: pods by their addresses, and addresses outside.
pub fn ends(objects: &Objects) -> Vec<End<'_>> {
    let mut ends: Vec<_> = OUTSIDE
        .iter()
        .map(|ip| End {
            ip: ip.parse().unwrap(),
            pod: None,
            judged: false,
        })
        .collect();
    for pod in &objects.pods {
        let (spec, status) = (pod.spec.as_ref().unwrap(), pod.status.as_ref().unwrap());
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let own_network = spec.host_network != Some(true) && !over;
        for ip in status.pod_ips.iter().flatten() {
            let ip: IpAddr = ip.ip.parse().unwrap();
            let judged = own_network && spec.node_name.as_deref() == Some(NODE);
            ends.push(End {
                ip,
                pod: own_network.then_some(pod),
                judged,
            });
        }
    }
    ends
}
