//! Sets of addresses as disjoint ranges: what CIDRs with exceptions mean.
//!
//! The kernel refuses overlapping intervals, so ranges are kept sorted, disjoint and merged where they touch.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// The addresses of a prefix; bits after the prefix length don't matter.
    pub fn of(net: IpNet) -> Self {
        let range = (number(net.network()), number(net.broadcast()));
        match net {
            IpNet::V4(_) => Self {
                v4: vec![range],
                v6: Vec::new(),
            },
            IpNet::V6(_) => Self {
                v4: Vec::new(),
                v6: vec![range],
            },
        }
    }

    /// These addresses and those.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            v4: union(&self.v4, &other.v4),
            v6: union(&self.v6, &other.v6),
        }
    }

    /// These addresses without those.
    pub fn subtract(&self, other: &Self) -> Self {
        Self {
            v4: subtract(&self.v4, &other.v4),
            v6: subtract(&self.v6, &other.v6),
        }
    }

    /// Whether it holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ranges = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        let address = number(address);
        let after = ranges.partition_point(|(first, _)| *first <= address);
        after > 0 && address <= ranges[after - 1].1
    }

    /// The IPv4 ranges, ascending, both ends included.
    pub fn v4(&self) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
        // Numbers in `v4` come from IPv4 addresses, so they fit.
        self.v4
            .iter()
            .map(|(first, last)| ((*first as u32).into(), (*last as u32).into()))
    }

    /// The IPv6 ranges, ascending, both ends included.
    pub fn v6(&self) -> impl Iterator<Item = (Ipv6Addr, Ipv6Addr)> {
        self.v6
            .iter()
            .map(|(first, last)| ((*first).into(), (*last).into()))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn union(a: &[(u128, u128)], b: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut all: Vec<_> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(all.len());
    for (first, last) in all {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn subtract(from: &[(u128, u128)], holes: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut left = Vec::with_capacity(from.len());
    for &(first, last) in from {
        let mut start = Some(first);
        for &(hole_first, hole_last) in holes {
            let Some(at) = start else { break };
            if hole_last < at || hole_first > last {
                continue;
            }
            if hole_first > at {
                left.push((at, hole_first - 1));
            }
            start = hole_last.checked_add(1).filter(|next| *next <= last);
        }
        if let Some(at) = start {
            left.push((at, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Ranges {
        Ranges::of(text.parse().unwrap())
    }

    #[test]
    fn the_whole_space_without_its_ends() {
        let all = of("0.0.0.0/0")
            .subtract(&of("0.0.0.0/32"))
            .subtract(&of("255.255.255.255/32"));
        let ranges: Vec<_> = all.v4().map(|(a, b)| format!("{a}-{b}")).collect();
        assert_eq!(ranges, ["0.0.0.1-255.255.255.254"]);
        let all = of("::/0").subtract(&of("::/1"));
        assert!(
            all.contains("8000::".parse().unwrap()) && !all.contains("7fff::".parse().unwrap())
        );
        assert_eq!(of("::/0").subtract(&of("::/0")), Ranges::default());
    }

    #[test]
    fn touching_prefixes_merge() {
        let both = of("10.0.0.0/25").union(&of("10.0.0.128/25"));
        assert_eq!(both, of("10.0.0.7/24"));
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        (0_u32..64, 24_u8..=32).prop_map(|(low, length)| {
            IpNet::new(Ipv4Addr::from(0x0a00_0000 | low).into(), length).unwrap()
        })
    }

    proptest! {
        #[test]
        fn agree_with_prefixes_taken_one_by_one(
            plus in prop::collection::vec(prefix(), 0..4),
            minus in prop::collection::vec(prefix(), 0..4),
        ) {
            let fold = |nets: &[IpNet]| {
                nets.iter().fold(Ranges::default(), |sum, net| sum.union(&Ranges::of(*net)))
            };
            let ranges = fold(&plus).subtract(&fold(&minus));
            for low in 0_u32..300 {
                let address = IpAddr::from(Ipv4Addr::from(0x0a00_0000 | low));
                let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(ranges.contains(address), within(&plus) && !within(&minus));
            }
            let edges: Vec<_> = ranges.v4.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect();
            prop_assert!(edges.iter().all(|(end, start)| end + 1 < *start));
        }
    }
}
