//! The table's life: who makes, mends and removes it, and what it counts.

use crate::running::{PATIENCE, Running, deny_a, hosts, in_node};
use crate::support::lab::{Lab, Namespace};
use crate::support::objects::{pod_from, policy};
use netpol_controller::domain::frame::Established;
use serde_json::json;
use std::net::{IpAddr, UdpSocket};
use tokio::time::Instant;

fn table_exists(node: &Namespace) -> bool {
    node.nft("list tables").contains("sextant-netpol")
}

#[test]
fn stopping_leaves_policy_in_force_and_turning_off_leaves_nothing() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    let again = hosts.clone();
    in_node(&lab.node, move || async move {
        let running = Running::start(&hosts, Established::Cut).await;
        let config = running.stop().await;
        drop(config);
    });
    assert!(
        table_exists(&lab.node),
        "a stopped controller leaves its table"
    );
    in_node(&lab.node, move || async move {
        let running = Running::start(&again, Established::Cut).await;
        running
            .api
            .delete("daemonsets", "kube-system", "netpol-controller");
        let config = running.stop().await;
        assert!(
            !config.socket.exists(),
            "the CNI plugin must not wait for nobody"
        );
    });
    assert!(
        !table_exists(&lab.node),
        "a controller that is turned off takes its table along"
    );
}

#[test]
fn a_pod_is_replaced_under_its_name_and_its_address() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts, Established::Cut).await;
        let [a, b] = [hosts[0].1, hosts[1].1];
        running.api.put(
            "networkpolicies",
            &policy(
                "x",
                "p",
                json!({"podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]}),
            ),
        );
        running.until(b, a, 80, true).await;
        // b ends; a pod with other labels gets its address before the API forgets b.
        let mut heir = pod_from(
            "x",
            "heir",
            json!({"pod": "heir"}),
            &[b.to_string()],
            json!([]),
        );
        heir.metadata.creation_timestamp =
            serde_json::from_value(json!("2026-11-23T00:01:00Z")).unwrap();
        running.api.put("pods", &heir);
        running.until(b, a, 80, false).await;
        running.api.delete("pods", "x", "heir");
        running.until(b, a, 80, true).await;
        running.api.delete("pods", "x", "b");
        running.until(b, a, 80, false).await;
        running.stop().await;
    });
}

/// Runs `nft` in the namespace of the caller.
async fn nft(words: &str) -> String {
    let output = tokio::process::Command::new("nft")
        .args(words.split(' '))
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {words}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every word of the table's listing, without what packets count up, in an order that doesn't depend on when what
/// was made.
async fn listed() -> Vec<String> {
    let text = nft("--stateless list ruleset").await;
    let words = text
        .split_whitespace()
        .map(|word| word.trim_end_matches(','));
    let mut words: Vec<_> = words.map(str::to_owned).collect();
    words.sort_unstable();
    words
}

#[test]
fn what_somebody_does_to_the_table_is_undone_at_once_and_by_itself() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        // The periodic comparison is five minutes away.
        let mut running = Running::start(&hosts, Established::Cut).await;
        running.api.put("networkpolicies", &deny_a());
        running.until(hosts[1].1, hosts[0].1, 80, false).await;
        in_force("jump ingress-").await;
        let whole = listed().await;
        for (count, vandalism) in [
            "delete table inet sextant-netpol",
            "flush ruleset",
            "flush chain inet sextant-netpol forward",
            "insert rule inet sextant-netpol forward accept",
            "flush map inet sextant-netpol ingress4",
        ]
        .into_iter()
        .enumerate()
        {
            nft(vandalism).await;
            running
                .counted(&format!("netpol_repairs_total {}", count + 1))
                .await;
            assert_eq!(listed().await, whole, "after {vandalism}");
        }
        // Tables of others are none of our business.
        nft("add table inet other").await;
        nft("add chain inet other c").await;
        nft("delete table inet other").await;
        nft("delete table inet sextant-netpol").await;
        running.counted("netpol_repairs_total 6").await;
        running.counted("netpol_errors_total 0").await;
        running.stop().await;
    });
}

/// Sends datagrams to a port that nobody has, so that nothing comes back.
fn send(lab: &Lab, from: &str, to: IpAddr, count: usize) {
    lab.host(from).namespace.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..count {
            socket.send_to(b"hello", (to, 9)).unwrap();
        }
    });
}

#[test]
fn denied_packets_are_counted_by_direction_whatever_becomes_of_the_policies() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let hosts = hosts(&lab);
    let [a, b] = [hosts[0].1, hosts[1].1];
    let node = lab.node.clone();
    in_node(&node, move || async move {
        let mut running = Running::start(&hosts, Established::Cut).await;
        let denied =
            |by: &str, count: usize| format!("netpol_denied_packets_total{{by=\"{by}\"}} {count}");
        running.counted(&denied("ingress", 0)).await;
        running.api.put("networkpolicies", &deny_a());
        running.until(b, a, 80, false).await;
        in_force("jump ingress-").await;
        send(&lab, "x/b", a, 3);
        running.counted(&denied("ingress", 3)).await;
        running.counted(&denied("egress", 0)).await;
        // Other programs decide from now on; what was counted stays.
        let silent = policy(
            "x",
            "silent",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []}),
        );
        running.api.put("networkpolicies", &silent);
        running.until(a, b, 80, false).await;
        in_force("jump egress-").await;
        send(&lab, "x/a", b, 2);
        running.counted(&denied("egress", 2)).await;
        running.counted(&denied("ingress", 3)).await;
        running.stop().await;
    });
}

/// Waits until the kernel's table holds `words`.
async fn in_force(words: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let ruleset = nft("list ruleset").await;
        if ruleset.contains(words) {
            return;
        }
        assert!(Instant::now() < end, "no {words:?} in\n{ruleset}");
    }
}
