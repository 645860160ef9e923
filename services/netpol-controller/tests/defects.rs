//! Defects that other policy controllers have or had, each as a case that must not come here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod support;

use netpol_controller::domain::diff::{Op, diff};
use netpol_controller::domain::ruleset::{Hook, Ruleset};
use netpol_controller::domain::verdict::{Packet, Tracked, passes};
use serde_json::{Value, json};
use support::objects::{Objects, namespace, pod, pod_from, policy, policy_change};

const A: &str = "10.244.1.1";
const B: &str = "10.244.1.2";
const C: &str = "10.244.1.3";
const OUTSIDE: &str = "203.0.113.9";

/// Pods x/a, x/b and x/c, of which only a has the port names of [`pod`].
fn cluster(policies: Vec<(&str, &str, Value)>) -> Objects {
    Objects {
        namespaces: vec![namespace("x", json!({}))],
        pods: vec![
            pod("x", "a", json!({"pod": "a"}), &[A.into()]),
            pod_from("x", "b", json!({"pod": "b"}), &[B.into()], json!([])),
            pod_from(
                "x",
                "c",
                json!({"pod": "c"}),
                &[C.into()],
                json!([{"name": "serve-80-tcp", "containerPort": 8080}]),
            ),
        ],
        policies: policies
            .into_iter()
            .map(|(ns, name, spec)| policy(ns, name, spec))
            .collect(),
    }
}

fn tcp(ruleset: &Ruleset, from: &str, to: &str, port: u16) -> bool {
    let packet = Packet {
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        protocol: 6,
        port,
        tracked: Tracked::New,
    };
    passes(ruleset, Hook::Forward, &packet)
}

fn compiled(policies: Vec<(&str, &str, Value)>) -> Ruleset {
    cluster(policies).engine().ruleset().clone()
}

#[test]
fn a_named_port_that_nobody_defines_allows_nothing_even_with_a_peer() {
    let ruleset = compiled(vec![(
        "x",
        "p",
        json!({"podSelector": {}, "ingress": [
        {"from": [{"podSelector": {}}], "ports": [{"port": "no-such-port"}]}]}),
    )]);
    assert!(
        ![1, 80, 443, 65_535]
            .into_iter()
            .any(|port| tcp(&ruleset, B, A, port))
    );
}

#[test]
fn a_port_name_is_resolved_for_each_pod_by_itself() {
    let ruleset = compiled(vec![(
        "x",
        "p",
        json!({"podSelector": {}, "ingress": [
        {"ports": [{"port": "serve-80-tcp"}]}]}),
    )]);
    assert!(tcp(&ruleset, OUTSIDE, A, 80) && tcp(&ruleset, OUTSIDE, C, 8080));
    assert!(!tcp(&ruleset, OUTSIDE, A, 8080) && !tcp(&ruleset, OUTSIDE, C, 80));
    assert!(!tcp(&ruleset, OUTSIDE, B, 80) && !tcp(&ruleset, OUTSIDE, B, 8080));
}

#[test]
fn egress_to_a_named_port_opens_no_number_to_the_world() {
    let ruleset = compiled(vec![(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "b"}},
        "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "serve-80-tcp"}]}]}),
    )]);
    assert!(tcp(&ruleset, B, A, 80) && tcp(&ruleset, B, C, 8080));
    assert!(!tcp(&ruleset, B, A, 8080) && !tcp(&ruleset, B, C, 80));
    assert!(!tcp(&ruleset, B, OUTSIDE, 80) && !tcp(&ruleset, B, OUTSIDE, 8080));
}

#[test]
fn names_that_join_alike_are_kept_apart() {
    let mut objects = cluster(vec![
        (
            "prod",
            "1allow",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}),
        ),
        (
            "prod1",
            "allow",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81}]}]}),
        ),
    ]);
    for (name, ip) in [("prod", A), ("prod1", B)] {
        objects.namespaces.push(namespace(name, json!({})));
        objects.pods.push(pod(name, "p", json!({}), &[ip.into()]));
    }
    objects.pods.drain(..3);
    let mut engine = objects.engine();
    let ruleset = engine.ruleset();
    assert!(tcp(ruleset, OUTSIDE, A, 80) && !tcp(ruleset, OUTSIDE, A, 81));
    assert!(tcp(ruleset, OUTSIDE, B, 81) && !tcp(ruleset, OUTSIDE, B, 80));
}

#[test]
fn an_exception_of_one_block_does_not_weaken_other_rules() {
    let ruleset = compiled(vec![(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
        {"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.2/32"]}}]},
        {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": 80}]}]}),
    )]);
    assert!(tcp(&ruleset, C, A, 443));
    assert!(
        tcp(&ruleset, B, A, 80),
        "the second rule allows what the first excepts"
    );
    assert!(!tcp(&ruleset, B, A, 443));
}

#[test]
fn all_of_ipv6_is_all_of_ipv6() {
    let mut objects = cluster(vec![(
        "x",
        "p",
        json!({"podSelector": {},
        "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}),
    )]);
    objects
        .pods
        .push(pod("x", "six", json!({}), &["fd44::1".into()]));
    let mut engine = objects.engine();
    for from in [
        "64:ff9b::102:304",
        "2001:db8::1",
        "fe80::1",
        "fd00::1",
        "::1",
        "ff02::1",
    ] {
        assert!(tcp(engine.ruleset(), from, "fd44::1", 80), "{from}");
    }
}

#[test]
fn both_families_of_a_pod_come_back_when_it_is_made_anew() {
    let mut objects = cluster(vec![(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "dual"}}}]}]}),
    )]);
    objects.pods[0] = pod("x", "a", json!({"pod": "a"}), &[A.into(), "fd44::a".into()]);
    let mut engine = objects.engine();
    for addresses in [["10.244.1.9", "fd44::9"], ["10.244.1.8", "fd44::8"]] {
        let dual = pod(
            "x",
            "dual",
            json!({"pod": "dual"}),
            &addresses.map(String::from),
        );
        engine.apply(support::objects::pod_change(&dual));
        assert!(tcp(engine.ruleset(), addresses[0], A, 80));
        assert!(tcp(engine.ruleset(), addresses[1], "fd44::a", 80));
    }
    assert!(
        !tcp(engine.ruleset(), "10.244.1.9", A, 80)
            && !tcp(engine.ruleset(), "fd44::9", "fd44::a", 80)
    );
}

#[test]
fn sctp_ports_are_not_those_of_tcp() {
    let ruleset = compiled(vec![(
        "x",
        "p",
        json!({"podSelector": {}, "ingress": [
        {"ports": [{"port": 80, "protocol": "SCTP"}]}]}),
    )]);
    let sctp = Packet {
        source: OUTSIDE.parse().unwrap(),
        destination: A.parse().unwrap(),
        protocol: 132,
        port: 80,
        tracked: Tracked::New,
    };
    assert!(passes(&ruleset, Hook::Forward, &sctp));
    assert!(!tcp(&ruleset, OUTSIDE, A, 80));
}

#[test]
fn long_names_of_policies_do_not_leave_them_unenforced() {
    let long = "p".repeat(253);
    let ruleset = compiled(vec![("x", &long, json!({"podSelector": {}}))]);
    assert!(!tcp(&ruleset, OUTSIDE, A, 80));
    assert!(
        ruleset
            .chains
            .keys()
            .chain(ruleset.sets.keys())
            .all(|name| name.len() < 64)
    );
}

#[test]
fn one_policy_among_many_changes_only_what_is_its_own() {
    let policies: Vec<_> = (0..500).map(|n| format!("p{n}")).collect();
    let spec = |port: u16| {
        json!({"podSelector": {"matchLabels": {"pod": "b"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}], "ports": [{"port": port}]}]})
    };
    let mut engine = cluster(
        policies
            .iter()
            .enumerate()
            .map(|(n, name)| ("y", name.as_str(), spec(n as u16 + 1)))
            .collect(),
    )
    .engine();
    engine.apply(policy_change(&policy("x", "mine", spec(80))));
    let before = engine.ruleset().clone();
    engine.apply(policy_change(&policy("x", "mine", spec(81))));
    let plan = diff(Some(&before), engine.ruleset());
    assert!(plan.ops().count() <= 12, "{plan:#?}");
    let switched = plan.switch.iter().all(|op| {
        matches!(op, Op::AddElements(set, ..) | Op::DeleteElements(set, ..) if **set == *"ingress4")
    });
    assert!(switched, "nothing is rebuilt: {:#?}", plan.switch);
}

#[test]
fn the_cost_of_a_packet_does_not_grow_with_policies() {
    let rules = |count: u16| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"podSelector": {}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"peer": format!("{n}")}}}]},
                {"from": [{"ipBlock": {"cidr": format!("10.{}.0.0/24", n % 250)}}],
                    "ports": [{"port": 1000 + n}, {"port": 5000 + 10 * n, "endPort": 5005 + 10 * n}]}]}))
            .collect()
    };
    let longest = |count: u16| {
        let names: Vec<_> = (0..count).map(|n| format!("p{n}")).collect();
        let specs = names
            .iter()
            .zip(rules(count))
            .map(|(name, spec)| ("x", name.as_str(), spec));
        let ruleset = compiled(specs.collect());
        ruleset.chains.values().map(|chain| chain.rules.len()).max()
    };
    assert_eq!(longest(2), longest(300));
}

#[test]
fn ended_pods_and_pods_in_the_nodes_network_are_nobodys_peer() {
    let mut objects = cluster(vec![(
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {}}]}]}),
    )]);
    let change = |objects: &mut Objects, change: fn(&mut k8s_openapi::api::core::v1::Pod)| {
        change(&mut objects.pods[1]);
        objects.engine().ruleset().clone()
    };
    assert!(tcp(objects.engine().ruleset(), B, A, 80));
    let ended = change(&mut objects, |b| {
        b.status.as_mut().unwrap().phase = Some("Succeeded".into())
    });
    assert!(!tcp(&ended, B, A, 80));
    let host = change(&mut objects, |b| {
        b.status.as_mut().unwrap().phase = Some("Running".into());
        b.spec.as_mut().unwrap().host_network = Some(true);
    });
    assert!(!tcp(&host, B, A, 80));
}
