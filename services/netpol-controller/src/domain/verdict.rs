//! Reads a ruleset as the kernel does: which packets pass.
//!
//! It knows nothing of policies or of the compiler, so that it can check both.

use super::model::Protocol;
use super::ruleset::{
    Action, Chain, Element, Family, Field, Hook, Match, Rule, Ruleset, Set, SetKind, Verdict,
};
use std::net::IpAddr;

/// A packet as our hooks see it: destination NAT has happened, source NAT hasn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Number of the protocol in the IP header.
    pub protocol: u8,
    /// Destination port, where the protocol has ports.
    pub port: u16,
    /// What connection tracking says of it.
    pub tracked: Tracked,
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// Opens a connection.
    New,
    /// TCP of an unknown connection, not its first packet.
    Midstream,
    /// In the direction that opened the connection.
    Original,
    /// In the other direction.
    Reply,
}

/// Whether the table lets a packet pass a hook. No chain for that hook lets everything pass.
pub fn passes(ruleset: &Ruleset, hook: Hook, packet: &Packet) -> bool {
    ruleset
        .chains
        .values()
        .filter(|chain| chain.hook == Some(hook))
        .all(|chain| run(ruleset, chain, packet) != Outcome::Drop)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accept,
    Drop,
    Return,
}

fn run(ruleset: &Ruleset, chain: &Chain, packet: &Packet) -> Outcome {
    for rule in &chain.rules {
        let Some(verdict) = fire(ruleset, rule, packet) else {
            continue;
        };
        let (target, comes_back) = match verdict {
            Verdict::Accept => return Outcome::Accept,
            Verdict::Drop => return Outcome::Drop,
            Verdict::Return => return Outcome::Return,
            Verdict::Goto(target) => (target, false),
            Verdict::Jump(target) => (target, true),
        };
        // The kernel refuses a verdict whose chain doesn't exist.
        let Some(target) = ruleset.chains.get(target) else {
            return Outcome::Drop;
        };
        let outcome = run(ruleset, target, packet);
        if outcome != Outcome::Return || !comes_back {
            return outcome;
        }
    }
    Outcome::Return
}

fn fire<'a>(ruleset: &'a Ruleset, rule: &'a Rule, packet: &Packet) -> Option<&'a Verdict> {
    if !rule
        .matches
        .iter()
        .all(|condition| holds(ruleset, condition, packet))
    {
        return None;
    }
    match &rule.action {
        Action::Verdict(verdict) => Some(verdict),
        Action::LookUp(field, map) => {
            look_up(ruleset.sets.get(map)?, &key(*field, packet)?)?.as_ref()
        }
    }
}

fn holds(ruleset: &Ruleset, condition: &Match, packet: &Packet) -> bool {
    match condition {
        Match::Established => matches!(packet.tracked, Tracked::Original | Tracked::Reply),
        Match::InSet(field, set) => match (ruleset.sets.get(set), key(*field, packet)) {
            (Some(set), Some(key)) => look_up(set, &key).is_some(),
            _ => false,
        },
        Match::Midstream => packet.tracked == Tracked::Midstream,
        // Packets here are never ICMP errors or neighbour discovery.
        Match::NeighbourDiscovery | Match::RelatedError(_) => false,
        Match::Reply => packet.tracked == Tracked::Reply,
    }
}

/// The value of a field; `None` for a packet that lacks it.
fn key(field: Field, packet: &Packet) -> Option<Element> {
    let of = |family: Family, address: IpAddr| (Family::of(address) == family).then_some(address);
    let protocol = Protocol::from_number(packet.protocol);
    match field {
        Field::Destination(family) => of(family, packet.destination).map(Element::Address),
        Field::DestinationEndpoint(family) => Some(Element::Endpoint(
            of(family, packet.destination)?,
            protocol?,
            packet.port,
        )),
        Field::Port => Some(Element::Port(protocol?, packet.port)),
        Field::Source(family) => of(family, packet.source).map(Element::Address),
    }
}

fn look_up<'a>(set: &'a Set, key: &Element) -> Option<&'a Option<Verdict>> {
    let at_or_before = |bound: Element| set.elements.range(..=bound).next_back();
    match (set.kind, *key) {
        (SetKind::AddressRanges(_), Element::Address(address)) => {
            let last = match address {
                IpAddr::V4(_) => IpAddr::from([0xff; 4]),
                IpAddr::V6(_) => IpAddr::from([0xff; 16]),
            };
            match at_or_before(Element::Addresses(address, last))? {
                (Element::Addresses(_, end), verdict) if address <= *end => Some(verdict),
                _ => None,
            }
        }
        (SetKind::PortRanges, Element::Port(protocol, port)) => {
            match at_or_before(Element::Ports(protocol, port, u16::MAX))? {
                (Element::Ports(same, _, end), verdict) if *same == protocol && port <= *end => {
                    Some(verdict)
                }
                _ => None,
            }
        }
        _ => set.elements.get(key),
    }
}
