//! What the kernel should hold so that this node reaches the other nodes' pods, and how to get there.

use ipnet::Ipv4Net;
use sextant_proto::supervisor::Peer;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// One other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    /// Its pods.
    pub pods: Ipv4Net,
    /// Its address on the underlying network.
    pub underlay: Ipv4Addr,
    /// Hardware address of its VXLAN device.
    pub vtep_mac: Mac,
}

/// Address of the VXLAN device that stands before a pod network.
pub fn vtep_address(pods: &Ipv4Net) -> Ipv4Addr {
    pods.network()
}

/// A route to a pod network through its VTEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The network.
    pub pods: Ipv4Net,
    /// Next hop on the overlay.
    pub via: Ipv4Addr,
}

/// The hardware address of a VTEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Address on the overlay.
    pub address: Ipv4Addr,
    /// Hardware address.
    pub mac: Mac,
}

/// Where frames for a hardware address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    /// Hardware address.
    pub mac: Mac,
    /// Address on the underlying network.
    pub underlay: Ipv4Addr,
}

/// The entries of the VXLAN device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Routes through the device.
    pub routes: BTreeSet<Route>,
    /// Its permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// Its forwarding database.
    pub forwards: BTreeSet<Forward>,
}

/// What to take out and what to put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Entries to delete, first.
    pub delete: Entries,
    /// Entries to add or replace.
    pub add: Entries,
}

impl Entries {
    /// What the peers ask for. A peer without a pod network, a usable address or a VTEP is left out until it has
    /// them; so is one that claims this node's network.
    pub fn desired(peers: &[Peer], own: &Ipv4Net) -> Self {
        let mut entries = Self::default();
        let mut seen = BTreeSet::new();
        for remote in peers.iter().filter_map(Remote::parse) {
            if overlaps(&remote.pods, own) || !seen.insert(remote.pods) {
                continue;
            }
            let address = vtep_address(&remote.pods);
            entries.routes.insert(Route {
                pods: remote.pods,
                via: address,
            });
            entries.neighbours.insert(Neighbour {
                address,
                mac: remote.vtep_mac,
            });
            entries.forwards.insert(Forward {
                mac: remote.vtep_mac,
                underlay: remote.underlay,
            });
        }
        entries
    }

    /// The way from `self`, what the kernel holds, to `desired`.
    pub fn change_to(&self, desired: &Self) -> Change {
        Change {
            delete: self.without(desired),
            add: desired.without(self),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.neighbours.is_empty() && self.forwards.is_empty()
    }

    fn without(&self, other: &Self) -> Self {
        Self {
            routes: &self.routes - &other.routes,
            neighbours: &self.neighbours - &other.neighbours,
            forwards: &self.forwards - &other.forwards,
        }
    }
}

impl Remote {
    /// The first IPv4 address counts.
    pub fn parse(peer: &Peer) -> Option<Self> {
        let underlay = peer
            .addresses
            .iter()
            .find_map(|address| address.parse().ok())?;
        let pods: Ipv4Net = peer.pod_cidr.parse().ok()?;
        Some(Self {
            pods: pods.trunc(),
            underlay,
            vtep_mac: peer.vtep_mac.parse().ok()?,
        })
    }
}

fn overlaps(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

impl Mac {
    /// A locally administered unicast address made of random bytes.
    pub fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfe) | 0x02;
        Self(bytes)
    }
}

/// A text that is no hardware address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no hardware address")]
pub struct NoMac(String);

impl std::str::FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let no_mac = || NoMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or_else(no_mac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| no_mac())?;
        }
        if parts.next().is_some() {
            Err(no_mac())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, address: &str, pods: &str, mac: &str) -> Peer {
        Peer {
            name: name.into(),
            addresses: vec!["fd00::1".into(), address.into()],
            pod_cidr: pods.into(),
            vtep_mac: mac.into(),
        }
    }

    fn own() -> Ipv4Net {
        "10.244.0.0/24".parse().unwrap()
    }

    #[test]
    fn a_peer_becomes_route_neighbour_and_forward() {
        let peers = [peer(
            "b",
            "172.18.0.6",
            "10.244.1.0/24",
            "02:00:00:00:00:01",
        )];
        let entries = Entries::desired(&peers, &own());
        let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        let via = "10.244.1.0".parse().unwrap();
        assert_eq!(
            Vec::from_iter(entries.routes),
            [Route {
                pods: "10.244.1.0/24".parse().unwrap(),
                via
            }]
        );
        assert_eq!(
            Vec::from_iter(entries.neighbours),
            [Neighbour { address: via, mac }]
        );
        assert_eq!(
            Vec::from_iter(entries.forwards),
            [Forward {
                mac,
                underlay: "172.18.0.6".parse().unwrap()
            }]
        );
    }

    #[test]
    fn incomplete_and_conflicting_peers_are_left_out() {
        let mac = "02:00:00:00:00:01";
        for peer in [
            peer("b", "nowhere", "10.244.1.0/24", mac),
            peer("b", "172.18.0.6", "", mac),
            peer("b", "172.18.0.6", "10.244.1.0/24", "02:00"),
            peer("b", "172.18.0.6", "10.244.0.0/24", mac),
            peer("b", "172.18.0.6", "10.244.0.0/16", mac),
        ] {
            assert!(
                Entries::desired(std::slice::from_ref(&peer), &own()).is_empty(),
                "{peer:?}"
            );
        }
    }

    #[test]
    fn two_claims_on_one_network_make_one_route() {
        let peers = [
            peer("b", "172.18.0.6", "10.244.1.0/24", "02:00:00:00:00:01"),
            peer("c", "172.18.0.7", "10.244.1.0/24", "02:00:00:00:00:02"),
        ];
        assert_eq!(Entries::desired(&peers, &own()).routes.len(), 1);
    }

    #[test]
    fn a_moved_peer_changes_only_its_forward() {
        let mac = "02:00:00:00:00:01";
        let before = Entries::desired(&[peer("b", "172.18.0.6", "10.244.1.0/24", mac)], &own());
        let after = Entries::desired(&[peer("b", "172.18.0.9", "10.244.1.0/24", mac)], &own());
        let change = before.change_to(&after);
        assert!(change.delete.routes.is_empty() && change.delete.neighbours.is_empty());
        assert_eq!(
            (change.delete.forwards.len(), change.add.forwards.len()),
            (1, 1)
        );
        let gone = before.change_to(&Entries::default());
        assert_eq!(gone.delete, before);
        assert!(gone.add.is_empty());
    }

    #[test]
    fn hardware_addresses_are_read_as_they_are_written() {
        let mac = Mac::local([0xff, 1, 2, 3, 4, 0xa5]);
        assert_eq!(mac.to_string(), "fe:01:02:03:04:a5");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "02:00:00:00:00:0g",
            "+2:00:00:00:00:00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
