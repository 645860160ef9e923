//! What the policies of one pod allow, one peer and one port at a time, with the rule that says so.

use super::model::{Direction, Key, NamedPort, Peer, PodSelector, Policy, PortMatch, Protocol};
use super::ranges::Ranges;

/// Traffic that a rule allows. Policies only ever allow; what no grant allows is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The policy.
    pub policy: Key,
    /// Which of its rules of that direction, from 0.
    pub rule: usize,
    /// The other end.
    pub peer: GrantPeer,
    /// Ports of the receiving end.
    pub ports: GrantPorts,
}

/// The other end of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantPeer {
    /// Any address.
    Anyone,
    /// These addresses.
    Block(Ranges),
    /// These pods.
    Pods(PodSelector),
}

/// The ports of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantPorts {
    /// All traffic, of any protocol.
    All,
    /// The port that each receiving pod has under this name (egress: the peer is the receiver).
    Named {
        /// Protocol.
        protocol: Protocol,
        /// Name of the container port.
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

/// What `policy` allows in `direction` for a pod with these named ports.
pub fn grants(policy: &Policy, direction: Direction, named: &[NamedPort]) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (index, rule) in policy
        .rules(direction)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let ports: Vec<_> = match &rule.ports {
            None => vec![GrantPorts::All],
            Some(ports) => ports
                .iter()
                .filter_map(|port| self::ports(port, direction, named))
                .collect(),
        };
        let peers: Vec<_> = match &rule.peers {
            None => vec![GrantPeer::Anyone],
            Some(peers) => peers.iter().map(GrantPeer::from).collect(),
        };
        for peer in peers {
            grants.extend(ports.iter().map(|ports| Grant {
                policy: policy.key.clone(),
                rule: index,
                peer: peer.clone(),
                ports: ports.clone(),
            }));
        }
    }
    grants
}

/// For ingress the pod itself receives, so its own ports resolve the name; a name it lacks allows nothing.
fn ports(port: &PortMatch, direction: Direction, named: &[NamedPort]) -> Option<GrantPorts> {
    match (port, direction) {
        (
            &PortMatch::Numbers {
                protocol,
                first,
                last,
            },
            _,
        ) => Some(GrantPorts::Numbers {
            protocol,
            first,
            last,
        }),
        (PortMatch::Name { protocol, name }, Direction::Egress) => Some(GrantPorts::Named {
            protocol: *protocol,
            name: name.clone(),
        }),
        (PortMatch::Name { protocol, name }, Direction::Ingress) => {
            let own = named
                .iter()
                .find(|own| own.protocol == *protocol && own.name == *name)?;
            Some(GrantPorts::Numbers {
                protocol: *protocol,
                first: own.port,
                last: own.port,
            })
        }
    }
}

impl From<&Peer> for GrantPeer {
    fn from(peer: &Peer) -> Self {
        match peer {
            Peer::Block(ranges) => Self::Block(ranges.clone()),
            Peer::Pods(selector) => Self::Pods(selector.clone()),
        }
    }
}
