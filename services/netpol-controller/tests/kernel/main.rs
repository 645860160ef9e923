//! The table in a real kernel: real packets through a node's forward and input hooks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod conformance;
mod foreign;
mod monitor;
mod node;
#[path = "../support/mod.rs"]
mod support;
mod table;

use netpol_controller::domain::ruleset::Ruleset;
use netpol_controller::nft::kernel::Kernel;
use serde_json::json;
use support::lab::Lab;
use support::objects::{Objects, namespace, pod, policy};
use support::probe;

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
