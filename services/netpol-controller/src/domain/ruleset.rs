//! Our table as typed data: sets, maps, chains and rules, no more kinds than the compiler uses.

use super::model::Protocol;
use super::name::{Name, name_of};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Name of the table.
pub const TABLE: &str = "sextant-netpol";

/// Everything in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Chains by name.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// Sets and maps by name.
    pub sets: BTreeMap<Name, Arc<Set>>,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// `4` or `6`.
    pub fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

/// A set, or a map from keys to verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// What its keys are.
    pub kind: SetKind,
    /// Whether each key has a verdict.
    pub map: bool,
    /// Its elements; those of a map have a verdict.
    pub elements: BTreeMap<Element, Option<Verdict>>,
}

impl Set {
    /// An empty set of addresses.
    pub fn addresses(family: Family) -> Self {
        Self {
            kind: SetKind::Addresses(family),
            map: false,
            elements: BTreeMap::new(),
        }
    }

    /// An empty map from addresses to verdicts.
    pub fn dispatch(family: Family) -> Self {
        Self {
            map: true,
            ..Self::addresses(family)
        }
    }
}

/// Type of a set's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Addresses, hashed.
    Addresses(Family),
    /// Address ranges.
    AddressRanges(Family),
    /// Address, protocol and port, hashed.
    Endpoints(Family),
    /// Protocol and port, hashed.
    Ports,
    /// Protocol and port range.
    PortRanges,
}

impl SetKind {
    /// Whether elements are intervals.
    pub fn is_interval(self) -> bool {
        matches!(self, Self::AddressRanges(_) | Self::PortRanges)
    }
}

/// An element of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// One address.
    Address(IpAddr),
    /// Addresses, both ends included.
    Addresses(IpAddr, IpAddr),
    /// One port at one address.
    Endpoint(IpAddr, Protocol, u16),
    /// One port.
    Port(Protocol, u16),
    /// Ports, both ends included.
    Ports(Protocol, u16, u16),
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Where the kernel enters it; `None` for one that is only jumped to.
    pub hook: Option<Hook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where the kernel enters a base chain. Policy is accept: drops are explicit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Routed packets, after destination NAT and before source NAT.
    Forward,
    /// Packets to the node itself.
    Input,
}

/// One rule: if all matches hold, the action happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Conditions.
    pub matches: Vec<Match>,
    /// What then happens.
    pub action: Action,
}

impl Rule {
    /// A rule that always gives `verdict`.
    pub fn always(verdict: Verdict) -> Self {
        Self {
            matches: Vec::new(),
            action: Action::Verdict(verdict),
        }
    }

    /// `verdict` if `field` is in `set`.
    pub fn when_in(field: Field, set: &Name, verdict: Verdict) -> Self {
        Self {
            matches: vec![Match::InSet(field, set.clone())],
            action: Action::Verdict(verdict),
        }
    }

    /// The verdict that `map` holds for `field`; the next rule if it holds none.
    pub fn look_up(field: Field, map: &Name) -> Self {
        Self {
            matches: Vec::new(),
            action: Action::LookUp(field, map.clone()),
        }
    }

    /// What the rule is recognised by when it is read back from the kernel.
    pub fn tag(&self) -> Name {
        name_of("", self)
    }
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// Belongs to a tracked connection, either direction.
    Established,
    /// A field is in a set.
    InSet(Field, Name),
    /// TCP that would be tracked as a new connection without being its first packet.
    Midstream,
    /// IPv6 neighbour discovery (router and neighbour, solicitation and advertisement).
    NeighbourDiscovery,
    /// An ICMP error about a tracked connection.
    RelatedError(Family),
    /// Flows against the direction in which its tracked connection was opened.
    Reply,
}

/// What is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Destination address.
    Destination(Family),
    /// Destination address, protocol and destination port.
    DestinationEndpoint(Family),
    /// Protocol and destination port.
    Port,
    /// Source address.
    Source(Family),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looks the verdict up; the next rule if there is none.
    LookUp(Field, Name),
    /// Gives a verdict. Drops are counted.
    Verdict(Verdict),
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// This table lets it pass.
    Accept,
    /// It is lost.
    Drop,
    /// Another chain decides, in place of this one.
    Goto(Name),
    /// Another chain is asked; if it has nothing to say, the next rule is.
    Jump(Name),
    /// The chain that jumped here goes on.
    Return,
}
