//! The table as the kernel holds it, and what changing it costs.

use crate::support::lab::Lab;
use crate::support::objects::{pod, pod_change, policy};
use crate::{cluster, some_table};
use netpol_controller::domain::diff::{Plan, diff};
use serde_json::{Value, json};

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
    engine.apply(pod_change(&one));
    let plan = diff(Some(&first), engine.ruleset());
    let cost = kernel.commit(&plan).unwrap();
    assert_eq!((cost.messages, cost.commits), (1, 1), "{plan:?}");
    assert_eq!(
        kernel.compare(engine.ruleset()).unwrap(),
        Some(Plan::default())
    );
}
