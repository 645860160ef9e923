//! The cases of the Kubernetes project's own tests, by real packets.

use crate::support::cases::{Case, Try, cases};
use crate::support::lab::Lab;
use crate::support::probe::{self, Probe, Transport};
use crate::{cluster, serving};
use netpol_controller::domain::diff::{Plan, diff};
use netpol_controller::domain::ruleset::{Hook, Ruleset};
use netpol_controller::domain::verdict::{Packet, Tracked, passes};

const HOSTS: [&str; 10] = [
    "x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c", "outside",
];

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

fn no_failures() -> Vec<String> {
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
            no_failures(),
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
