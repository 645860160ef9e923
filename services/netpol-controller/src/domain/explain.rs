//! Says why a connection is allowed or denied: by which policy, by which rule.

use super::engine::Engine;
use super::frame;
use super::grant::{Grant, GrantPeer, GrantPorts};
use super::model::{Direction, Pod, Protocol};
use super::program::Program;
use super::ruleset::Hook;
use super::verdict::{Packet, Tracked, passes};
use std::net::IpAddr;

/// A connection somebody asks about, with addresses and port behind any Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who opens it.
    pub source: IpAddr,
    /// Who receives it.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the receiver.
    pub port: u16,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What this node's table does with it.
    pub allowed: bool,
    /// One sentence per direction.
    pub reasons: Vec<String>,
}

/// Answers from what is compiled. Only traffic of this node's pods is judged on this node.
pub fn explain(engine: &mut Engine, question: &Question) -> Answer {
    if question.source == question.destination {
        let itself = "a pod's packets to its own address never leave it: allowed; if it calls itself by way of a \
                      Service, they do, and this holds:";
        let reasons =
            [Direction::Egress, Direction::Ingress].map(|way| reason(engine, way, question));
        return Answer {
            allowed: true,
            reasons: [vec![itself.into()], reasons.into()].concat(),
        };
    }
    let packet = Packet {
        source: question.source,
        destination: question.destination,
        protocol: question.protocol.number(),
        port: question.port,
        tracked: Tracked::New,
    };
    let allowed = passes(engine.ruleset(), Hook::Forward, &packet);
    let reasons = vec![
        reason(engine, Direction::Egress, question),
        reason(engine, Direction::Ingress, question),
    ];
    Answer { allowed, reasons }
}

fn reason(engine: &Engine, direction: Direction, question: &Question) -> String {
    let (own, peer) = match direction {
        Direction::Egress => (question.source, question.destination),
        Direction::Ingress => (question.destination, question.source),
    };
    let Some(pod) = engine.cluster().owner(own) else {
        return format!(
            "{direction}: not judged: {own} is no pod's address (outside the cluster, or a pod in its node's network)"
        );
    };
    let who = &pod.key;
    if !engine.facts(who).is_some_and(|facts| facts.local) {
        return format!(
            "{direction}: not judged here: {who} runs on node {}",
            pod.node
        );
    }
    let Some(program) = engine.program(who, direction) else {
        return format!("{direction}: allowed: no policy restricts {direction} of {who}");
    };
    match program
        .grants
        .iter()
        .find(|grant| allows(engine, grant, direction, peer, question))
    {
        Some(grant) => format!(
            "{direction}: allowed: {direction} rule {} of NetworkPolicy {} allows {}",
            grant.rule,
            grant.policy,
            peer_name(engine, peer),
        ),
        None => format!(
            "{direction}: denied: NetworkPolicy {} restrict {direction} of {who}, and no rule allows {} on {} {}",
            policies(program),
            peer_name(engine, peer),
            question.protocol,
            question.port,
        ),
    }
}

fn allows(
    engine: &Engine,
    grant: &Grant,
    direction: Direction,
    peer: IpAddr,
    question: &Question,
) -> bool {
    let peer_facts = engine
        .cluster()
        .owner(peer)
        .and_then(|pod: &Pod| engine.facts(&pod.key));
    let by_peer = match &grant.peer {
        GrantPeer::Anyone => true,
        GrantPeer::Block(ranges) => ranges.contains(peer),
        GrantPeer::Pods(selector) => peer_facts.is_some_and(|facts| selector.selects(facts)),
    };
    let by_port = match &grant.ports {
        GrantPorts::All => true,
        GrantPorts::Named { protocol, name } => {
            // Names are resolved at the receiver, which is the peer only for egress.
            direction == Direction::Egress
                && *protocol == question.protocol
                && peer_facts
                    .into_iter()
                    .flat_map(|facts| facts.named_ports.iter())
                    .any(|port| {
                        port.name == *name
                            && port.protocol == *protocol
                            && port.port == question.port
                    })
        }
        GrantPorts::Numbers {
            protocol,
            first,
            last,
        } => *protocol == question.protocol && (*first..=*last).contains(&question.port),
    };
    by_peer && by_port
}

fn peer_name(engine: &Engine, address: IpAddr) -> String {
    match engine.cluster().owner(address) {
        Some(pod) => format!("{} ({address})", pod.key),
        None => address.to_string(),
    }
}

/// The policies of a program, shortened where they are many.
fn policies(program: &Program) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<_> = program
        .policies
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if program.policies.len() > SHOWN {
        text.push(format!("{} more", program.policies.len() - SHOWN));
    }
    text.join(", ")
}

/// Whether a tracked connection may go on. Those of the node itself aren't judged.
pub fn still_allowed(engine: &mut Engine, packet: &Packet, nodes_own: bool) -> bool {
    let ruleset = engine.ruleset();
    let concerned = [packet.source, packet.destination]
        .into_iter()
        .any(|address| {
            let isolated = frame::isolated(super::ruleset::Family::of(address));
            let element = super::ruleset::Element::Address(address);
            ruleset
                .sets
                .get(&isolated)
                .is_some_and(|set| set.elements.contains_key(&element))
        });
    nodes_own || !concerned || passes(ruleset, Hook::Forward, packet)
}
