//! Lowers grants to chains and sets, so that a packet costs the same few look-ups whatever the number of policies.
//!
//! The chain of a pod and direction asks, in this order: is the endpoint a named port of a peer (egress); which
//! peers may use this port (one hash, one interval look-up); which peers may use any port. The answer is a chain
//! of its own: is the peer one of these pods, is its address in these ranges, else it is denied. Everything but the
//! atoms is named after its content and never changes.

use super::atom::Atom;
use super::frame::Denial;
use super::grant::{Grant, GrantPeer, GrantPorts};
use super::model::{Direction, Key, PodSelector};
use super::name::{Name, name_of};
use super::ports::{Piece, Span, pieces};
use super::ranges::Ranges;
use super::ruleset::{Chain, Element, Family, Field, Rule, Set, SetKind, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What decides the traffic of pods that are selected by the same policies, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The chain to jump to. It returns for what is allowed and denies the rest.
    pub chain: Name,
    /// The policies that select the pods; together they deny what none of them allows.
    pub policies: Vec<Key>,
    /// What is allowed, and by which rule.
    pub grants: Vec<Grant>,
    /// The sets it needs that follow pods.
    pub atoms: BTreeMap<Name, Arc<Atom>>,
    /// Its chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// Its sets that never change.
    pub sets: BTreeMap<Name, Arc<Set>>,
}

/// Who may use a port.
#[derive(Default)]
struct Peers {
    anyone: bool,
    pods: BTreeSet<PodSelector>,
    ranges: Ranges,
}

impl Program {
    /// Compiles the grants of the given policies.
    pub fn compile(direction: Direction, policies: Vec<Key>, grants: Vec<Grant>) -> Self {
        let mut lowering = Lowering {
            direction,
            atoms: BTreeMap::new(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
        };
        let mut rules = Vec::new();
        if let Some(atom) = Atom::endpoints(&grants) {
            rules.extend(Family::ALL.map(|family| {
                let field = Field::DestinationEndpoint(family);
                Rule::when_in(field, atom.name(family), Verdict::Return)
            }));
            lowering.atoms.insert(atom.v4.clone(), Arc::new(atom));
        }
        rules.extend(lowering.port_rules(&grants));
        rules.push(Rule::always(lowering.verdict(Peers::of(any_port(&grants)))));
        let chain = lowering.chain(&format!("{direction}-"), rules);
        let Lowering {
            atoms,
            chains,
            sets,
            ..
        } = lowering;
        Self {
            chain,
            policies,
            grants,
            atoms,
            chains,
            sets,
        }
    }
}

impl Peers {
    fn of<'a>(grants: impl Iterator<Item = &'a Grant>) -> Self {
        let mut peers = Self::default();
        for grant in grants {
            match &grant.peer {
                GrantPeer::Anyone => peers.anyone = true,
                GrantPeer::Block(ranges) => peers.ranges = peers.ranges.union(ranges),
                GrantPeer::Pods(selector) => {
                    peers.pods.insert(selector.clone());
                }
            }
        }
        peers
    }
}

fn any_port(grants: &[Grant]) -> impl Iterator<Item = &Grant> {
    grants.iter().filter(|grant| grant.ports == GrantPorts::All)
}

struct Lowering {
    direction: Direction,
    atoms: BTreeMap<Name, Arc<Atom>>,
    chains: BTreeMap<Name, Arc<Chain>>,
    sets: BTreeMap<Name, Arc<Set>>,
}

impl Lowering {
    /// Look-ups that find who may use the packet's port; no rule where no grant names a port.
    fn port_rules(&mut self, grants: &[Grant]) -> Vec<Rule> {
        let spans: Vec<_> = grants
            .iter()
            .enumerate()
            .filter_map(|(grant, allowed)| match allowed.ports {
                GrantPorts::Numbers {
                    protocol,
                    first,
                    last,
                } => Some(Span {
                    protocol,
                    first,
                    last,
                    grant,
                }),
                _ => None,
            })
            .collect();
        let any_port: Vec<_> = any_port(grants).collect();
        let mut exact = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for Piece {
            protocol,
            first,
            last,
            grants: by,
        } in pieces(&spans)
        {
            let by_number = by.iter().filter_map(|index| grants.get(*index));
            let verdict = self.verdict(Peers::of(by_number.chain(any_port.iter().copied())));
            let verdict = Some(verdict);
            if first == last {
                exact.insert(Element::Port(protocol, first), verdict);
            } else {
                ranges.insert(Element::Ports(protocol, first, last), verdict);
            }
        }
        let maps = [(SetKind::Ports, exact), (SetKind::PortRanges, ranges)];
        maps.into_iter()
            .filter(|(_, elements)| !elements.is_empty())
            .map(|(kind, elements)| {
                let map = self.set(
                    "ports-",
                    Set {
                        kind,
                        map: true,
                        elements,
                    },
                );
                Rule::look_up(Field::Port, &map)
            })
            .collect()
    }

    /// What happens to a packet whose port these peers may use.
    fn verdict(&mut self, peers: Peers) -> Verdict {
        if peers.anyone {
            return Verdict::Return;
        }
        let deny = Denial::Policy(self.direction).verdict();
        let mut rules = Vec::new();
        if !peers.pods.is_empty() {
            let atom = Atom::addresses(peers.pods);
            rules.extend(Family::ALL.map(|family| {
                Rule::when_in(self.peer(family), atom.name(family), Verdict::Return)
            }));
            self.atoms.insert(atom.v4.clone(), Arc::new(atom));
        }
        let v4 = peers
            .ranges
            .v4()
            .map(|(a, b)| Element::Addresses(IpAddr::V4(a), IpAddr::V4(b)));
        let v4: BTreeMap<_, _> = v4.map(|element| (element, None)).collect();
        let v6 = peers
            .ranges
            .v6()
            .map(|(a, b)| Element::Addresses(IpAddr::V6(a), IpAddr::V6(b)));
        let v6: BTreeMap<_, _> = v6.map(|element| (element, None)).collect();
        for (family, elements) in [(Family::V4, v4), (Family::V6, v6)] {
            if !elements.is_empty() {
                let kind = SetKind::AddressRanges(family);
                let set = self.set(
                    "cidr-",
                    Set {
                        kind,
                        map: false,
                        elements,
                    },
                );
                rules.push(Rule::when_in(self.peer(family), &set, Verdict::Return));
            }
        }
        if rules.is_empty() {
            return deny;
        }
        rules.push(Rule::always(deny));
        Verdict::Goto(self.chain("peers-", rules))
    }

    fn peer(&self, family: Family) -> Field {
        match self.direction {
            Direction::Egress => Field::Destination(family),
            Direction::Ingress => Field::Source(family),
        }
    }

    fn chain(&mut self, prefix: &str, rules: Vec<Rule>) -> Name {
        let chain = Chain { hook: None, rules };
        let name = name_of(prefix, &chain);
        self.chains.insert(name.clone(), Arc::new(chain));
        name
    }

    fn set(&mut self, prefix: &str, set: Set) -> Name {
        let name = name_of(prefix, &set);
        self.sets.insert(name.clone(), Arc::new(set));
        name
    }
}
