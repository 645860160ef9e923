//! What the compiler knows of Kubernetes: pods, namespaces and policies, parsed.

use super::ranges::Ranges;
use super::selector::Selector;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Labels of a pod or namespace.
pub type Labels = BTreeMap<String, String>;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of `namespace`/`name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A protocol that has ports. The number is the one in the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number in the IP header.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The protocol of a number in the IP header.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no protocol; TCP, UDP and SCTP are"))
    }
}

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// Name, unique per protocol within the pod (the first container wins, as in kubelet).
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// A pod, reduced to what policy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// UID; of a mirror pod, that of the static pod too (`static_uid`).
    pub uid: String,
    /// UID that kubelet knows a static pod by.
    pub static_uid: Option<String>,
    /// Node it is bound to; empty while it isn't.
    pub node: String,
    /// Labels.
    pub labels: Arc<Labels>,
    /// Addresses that the API reports.
    pub addresses: Vec<IpAddr>,
    /// Shares the node's network: neither subject nor peer.
    pub host_network: bool,
    /// Succeeded or Failed: its addresses may belong to somebody else by now.
    pub finished: bool,
    /// Being deleted; still subject and peer, but loses its address to a living pod.
    pub terminating: bool,
    /// Creation time, seconds since 1970.
    pub created: i64,
    /// Its named ports.
    pub named_ports: Arc<[NamedPort]>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Arc<Labels>,
}

/// Which way a policy looks, seen from the selected pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the pod sends.
    Egress,
    /// What the pod receives.
    Ingress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub key: Key,
    /// The pods it applies to, within its namespace.
    pub subjects: Selector,
    /// What may be received; `None` where it doesn't restrict that.
    pub ingress: Option<Vec<Rule>>,
    /// What may be sent; `None` where it doesn't restrict that.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// Its rules for one direction; `None` where it doesn't restrict that direction.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Egress => self.egress.as_deref(),
            Direction::Ingress => self.ingress.as_deref(),
        }
    }
}

/// One rule: traffic with any of these peers on any of these ports is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The other end; `None` means anybody.
    pub peers: Option<Vec<Peer>>,
    /// Ports of the receiving end; `None` means all traffic, of any protocol.
    pub ports: Option<Vec<PortMatch>>,
}

/// The other end of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Addresses.
    Block(Ranges),
    /// Pods.
    Pods(PodSelector),
}

/// Pods by namespace and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodSelector {
    /// Namespaces.
    pub namespaces: NamespaceScope,
    /// Labels of the pod.
    pub pods: Selector,
}

/// Namespaces a peer may live in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceScope {
    /// That of the policy.
    Own(Arc<str>),
    /// Those with matching labels.
    Selected(Selector),
}

/// Ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// A container port by name, resolved at the receiving pod.
    Name {
        /// Protocol that the container port must have.
        protocol: Protocol,
        /// Its name.
        name: String,
    },
    /// Numbers, both ends included.
    Numbers {
        /// Protocol.
        protocol: Protocol,
        /// Lowest.
        first: u16,
        /// Highest.
        last: u16,
    },
}
