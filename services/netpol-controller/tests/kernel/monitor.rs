//! Notifications of changes.

use crate::some_table;
use crate::support::lab::{Lab, Namespace};
use netpol_controller::nft::monitor::Monitor;
use std::time::Duration;

/// Anything that has to be heard, is heard within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// What must not be heard is waited for this long.
const SILENCE: Duration = Duration::from_millis(300);

/// Listens while something happens; whether a change of our table was told.
fn hears(node: &Namespace, own: u32, patience: Duration, happens: impl FnOnce()) -> bool {
    let (runtime, mut monitor) = node.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let monitor = Monitor::open(own).unwrap();
        drop(guard);
        (runtime, monitor)
    });
    happens();
    runtime
        .block_on(async { tokio::time::timeout(patience, monitor.changed()).await })
        .is_ok_and(|told| told.map(|()| true).unwrap())
}

#[test]
fn changes_by_others_are_told_and_our_own_are_not() {
    let Some(lab) = Lab::new(&["x/a", "x/b"]) else {
        return;
    };
    let (mut kernel, wanted) = some_table(&lab);
    let own = kernel.port();
    let ours = hears(&lab.node, own, SILENCE, || {
        kernel.remove().unwrap();
        let (plan, _) = kernel.enforce(&wanted).unwrap();
        assert!(!plan.is_empty());
        lab.node
            .nft("add table ip kube-proxy; add chain ip kube-proxy c");
    });
    assert!(!ours, "own changes, or those of other tables, are told");
    for change in [
        "add element inet sextant-netpol isolated4 { 10.9.9.9 }",
        "flush map inet sextant-netpol ingress4",
        "add rule inet sextant-netpol input accept",
        "add chain inet sextant-netpol more",
        "delete chain inet sextant-netpol more",
        "flush ruleset",
    ] {
        let told = hears(&lab.node, own, PATIENCE, || {
            lab.node.nft(change);
        });
        assert!(told, "{change}");
    }
}

#[test]
fn a_flood_that_loses_notifications_counts_as_a_change() {
    let Some(lab) = Lab::new(&["x/a"]) else {
        return;
    };
    let addresses: Vec<_> = (0..200_000_u32)
        .map(|index| std::net::Ipv4Addr::from(0x0a00_0000 + index).to_string())
        .collect();
    let flood = format!(
        "add table ip other; add set ip other s {{ type ipv4_addr; }}\nadd element ip other s {{ {} }}",
        addresses.join(", ")
    );
    let told = hears(&lab.node, 0, PATIENCE, || {
        lab.node.nft(&flood);
    });
    assert!(told, "nothing was lost, or that was not told");
}
