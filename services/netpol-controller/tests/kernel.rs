//! The table in a real kernel: real packets through a node's forward and input hooks.

mod support;

use netpol_controller::domain::diff::diff;
use serde_json::json;
use support::lab::Lab;
use support::objects::{Objects, namespace, pod, policy};
use support::probe::{self, Probe, Transport};

fn cluster(lab: &Lab) -> Objects {
    let mut objects = Objects::default();
    for host in &lab.hosts {
        let Some((ns, name)) = host.name.split_once('/') else { continue };
        if !objects.namespaces.iter().any(|known| known.metadata.name.as_deref() == Some(ns)) {
            objects.namespaces.push(namespace(ns, json!({"ns": ns})));
        }
        let ips = [host.v4.to_string(), host.v6.to_string()];
        objects.pods.push(pod(ns, name, json!({"pod": name}), &ips));
    }
    objects
}

#[test]
fn smoke() {
    let Some(lab) = Lab::new(&["x/a", "x/b", "outside"]) else { return };
    let mut objects = cluster(&lab);
    objects.policies.push(policy("x", "deny", json!({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": 80}, {"port": 90, "endPort": 95}]},
        {"from": [{"ipBlock": {"cidr": "203.0.0.0/8", "except": ["203.0.113.0/24"]}}, {"ipBlock": {"cidr": "::/0"}}]}
    ], "egress": [{"ports": [{"port": "serve-81-tcp"}]}, {"ports": [{"port": 53, "protocol": "UDP"}]}]})));
    for host in &lab.hosts {
        probe::serve(&host.namespace, 80);
        probe::serve(&host.namespace, 81);
    }
    let mut engine = objects.engine();
    let mut kernel = lab.node.kernel();
    let cost = kernel.commit(&diff(None, engine.ruleset()));
    println!("{}", lab.node.nft("list ruleset"));
    println!("{cost:?}");
    assert_eq!(kernel.compare(engine.ruleset()).unwrap().unwrap(), Default::default());
    let mut probes = Vec::new();
    let mut add = |from: &str, to: &str, v6: bool, port, expected| {
        let target = lab.host(to);
        let to = if v6 { target.v6 } else { target.v4 };
        for transport in [Transport::Tcp] {
            probes.push(Probe { from: lab.host(from).clone(), to, port, transport, expected });
        }
    };
    add("x/b", "x/a", false, 80, true);
    add("x/b", "x/a", true, 80, true);
    add("x/b", "x/a", false, 81, false);
    add("x/a", "x/b", false, 81, true);
    add("x/a", "x/b", true, 81, true);
    add("x/a", "x/b", false, 80, false);
    add("outside", "x/a", false, 80, false);
    add("outside", "x/a", true, 80, true);
    add("outside", "x/b", false, 80, true);
    add("x/a", "outside", false, 81, false);
    assert_eq!(probe::run(probes), Vec::<String>::new());
}
