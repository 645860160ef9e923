//! Cuts overlapping port ranges into disjoint pieces, since a packet should need one look-up for its port, and the
//! kernel refuses overlapping intervals.

use super::model::Protocol;
use std::collections::{BTreeMap, BTreeSet};

/// A port range that some grants allow, by their index.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Protocol.
    pub protocol: Protocol,
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
    /// Which grant allows it.
    pub grant: usize,
}

/// Ports that all the same grants allow; pieces are disjoint and as large as they can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Protocol.
    pub protocol: Protocol,
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
    /// Who allows it; never empty.
    pub grants: BTreeSet<usize>,
}

/// The pieces of all spans, ascending.
pub fn pieces(spans: &[Span]) -> Vec<Piece> {
    // At each edge, the grants that begin and end there. Edges are u32: one past the last port is 65536.
    let mut edges: BTreeMap<(Protocol, u32), (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for span in spans {
        edges
            .entry((span.protocol, span.first.into()))
            .or_default()
            .0
            .push(span.grant);
        edges
            .entry((span.protocol, u32::from(span.last) + 1))
            .or_default()
            .1
            .push(span.grant);
    }
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut left_edge: Option<(Protocol, u32)> = None;
    for ((protocol, at), (begin, end)) in edges {
        if let Some((protocol, from)) = left_edge.take()
            && !open.is_empty()
        {
            push(
                &mut pieces,
                protocol,
                from,
                at - 1,
                open.keys().copied().collect(),
            );
        }
        for grant in begin {
            *open.entry(grant).or_default() += 1;
        }
        for grant in end {
            if let Some(count) = open.get_mut(&grant) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&grant);
                }
            }
        }
        left_edge = Some((protocol, at));
    }
    pieces
}

fn push(
    pieces: &mut Vec<Piece>,
    protocol: Protocol,
    first: u32,
    last: u32,
    grants: BTreeSet<usize>,
) {
    // Edges lie within 0..=65536 and `last` is one below an edge, so both fit.
    let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(last)) else {
        return;
    };
    match pieces.last_mut() {
        Some(before)
            if before.protocol == protocol
                && before.last.checked_add(1) == Some(first)
                && before.grants == grants =>
        {
            before.last = last;
        }
        _ => pieces.push(Piece {
            protocol,
            first,
            last,
            grants,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cover_each_port_by_exactly_its_grants(
            ranges in prop::collection::vec((0_usize..3, 0_u16..40, 0_u16..40), 0..8),
            top in any::<bool>(),
        ) {
            let shift = if top { u16::MAX - 39 } else { 0 };
            let spans: Vec<_> = ranges.iter().enumerate().map(|(grant, (protocol, a, b))| Span {
                protocol: Protocol::ALL[*protocol],
                first: shift + a.min(b),
                last: shift + a.max(b),
                grant,
            }).collect();
            let pieces = pieces(&spans);
            for protocol in Protocol::ALL {
                for port in shift..=shift + 39 {
                    let allowed: BTreeSet<_> = spans.iter()
                        .filter(|s| s.protocol == protocol && s.first <= port && port <= s.last)
                        .map(|s| s.grant)
                        .collect();
                    let found: Vec<_> = pieces.iter()
                        .filter(|p| p.protocol == protocol && p.first <= port && port <= p.last)
                        .collect();
                    prop_assert!(found.len() <= 1);
                    let grants = found.first().map(|p| p.grants.clone()).unwrap_or_default();
                    prop_assert_eq!(grants, allowed);
                }
            }
        }
    }
}
