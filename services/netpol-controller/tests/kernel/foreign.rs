//! Others' tables stay as they are, and ours too whatever others do.

use crate::support::cases::cases;
use crate::support::lab::Lab;
use crate::{cluster, some_table};
use netpol_controller::domain::diff::{Plan, diff};
use netpol_controller::domain::ruleset::Ruleset;

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
