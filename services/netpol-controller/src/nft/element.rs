//! Types and elements of sets, to the kernel and back.
//!
//! Each field of a concatenated key fills whole 32-bit words. A range of a concatenation is one element with both
//! ends; a range of single values is two, the second one past the end.

use super::attribute::{Attributes, be32, each, find, text};
use super::consts::*;
use crate::domain::model::Protocol;
use crate::domain::ruleset::{Element, Family, SetKind, Verdict};
use std::net::IpAddr;

/// How the kernel and nft see a kind of set.
pub struct KeyType {
    /// nft's data type, six bits per field.
    pub number: u32,
    /// Bytes of a key.
    pub length: u32,
    /// Flags beside that of a map.
    pub flags: u32,
    /// Bytes of each field of a range of concatenations.
    pub fields: &'static [u32],
}

impl KeyType {
    /// The type of a kind of set.
    pub fn of(kind: SetKind) -> Self {
        let join = |types: &[u32]| {
            types
                .iter()
                .fold(0, |sum, number| sum << TYPE_BITS | number)
        };
        let address = |family| match family {
            Family::V4 => (TYPE_IPV4_ADDR, 4),
            Family::V6 => (TYPE_IPV6_ADDR, 16),
        };
        match kind {
            SetKind::Addresses(family) => {
                let (number, length) = address(family);
                Self {
                    number,
                    length,
                    flags: 0,
                    fields: &[],
                }
            }
            SetKind::AddressRanges(family) => {
                let (number, length) = address(family);
                Self {
                    number,
                    length,
                    flags: NFT_SET_INTERVAL,
                    fields: &[],
                }
            }
            SetKind::Endpoints(family) => {
                let (number, length) = address(family);
                let number = join(&[number, TYPE_INET_PROTO, TYPE_INET_SERVICE]);
                Self {
                    number,
                    length: length + 8,
                    flags: 0,
                    fields: &[],
                }
            }
            SetKind::Ports => {
                let number = join(&[TYPE_INET_PROTO, TYPE_INET_SERVICE]);
                Self {
                    number,
                    length: 8,
                    flags: 0,
                    fields: &[],
                }
            }
            SetKind::PortRanges => {
                let number = join(&[TYPE_INET_PROTO, TYPE_INET_SERVICE]);
                let flags = NFT_SET_INTERVAL | NFT_SET_CONCAT;
                Self {
                    number,
                    length: 8,
                    flags,
                    fields: &[1, 2],
                }
            }
        }
    }

    /// The kind that has this type and these flags.
    pub fn parse(number: u32, flags: u32) -> Option<SetKind> {
        let kinds = Family::ALL.into_iter().flat_map(|family| {
            [
                SetKind::Addresses(family),
                SetKind::AddressRanges(family),
                SetKind::Endpoints(family),
            ]
        });
        kinds
            .chain([SetKind::Ports, SetKind::PortRanges])
            .find(|kind| {
                let known = Self::of(*kind);
                known.number == number && known.flags | NFT_SET_MAP == flags | NFT_SET_MAP
            })
    }
}

/// Writes an element, as one or two entries of the list.
pub fn write(list: &mut Attributes, element: &Element, verdict: Option<&Verdict>) {
    let mut entry = |flags: u32, key: &[u8], end: Option<&[u8]>| {
        list.nest(NFTA_LIST_ELEM, |entry| {
            if flags != 0 {
                entry.be32(NFTA_SET_ELEM_FLAGS, flags);
            }
            entry.nest(NFTA_SET_ELEM_KEY, |data| data.bytes(NFTA_DATA_VALUE, key));
            if let Some(end) = end {
                entry.nest(NFTA_SET_ELEM_KEY_END, |data| {
                    data.bytes(NFTA_DATA_VALUE, end)
                });
            }
            if let Some(verdict) = verdict {
                entry.nest(NFTA_SET_ELEM_DATA, |data| write_verdict(data, verdict));
            }
        });
    };
    match *element {
        Element::Address(ip) => entry(0, &address(ip), None),
        Element::Addresses(first, last) => {
            entry(0, &address(first), None);
            if let Some(after) = successor(last) {
                entry(NFT_SET_ELEM_INTERVAL_END, &address(after), None);
            }
        }
        Element::Endpoint(ip, protocol, number) => {
            let mut key = address(ip);
            key.extend(port(protocol, number));
            entry(0, &key, None);
        }
        Element::Port(protocol, number) => entry(0, &port(protocol, number), None),
        Element::Ports(protocol, first, last) => {
            entry(0, &port(protocol, first), Some(&port(protocol, last)));
        }
    }
}

/// Writes a verdict as the kernel's data.
pub fn write_verdict(data: &mut Attributes, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (1, None),
        Verdict::Drop => (0, None),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Return => (NFT_RETURN, None),
    };
    data.nest(NFTA_DATA_VERDICT, |data| {
        data.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            data.text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}

/// One entry of a set's list as the kernel gave it.
pub struct Entry {
    key: Vec<u8>,
    end: Option<Vec<u8>>,
    interval_end: bool,
    verdict: Option<Verdict>,
}

/// Reads the entries of one message.
pub fn read_entries(list: &[u8]) -> impl Iterator<Item = Entry> {
    each(list).filter_map(|(_, entry)| {
        let value = |kind| find(find(entry, kind)?, NFTA_DATA_VALUE).map(<[u8]>::to_vec);
        Some(Entry {
            key: value(NFTA_SET_ELEM_KEY)?,
            end: value(NFTA_SET_ELEM_KEY_END),
            interval_end: be32(entry, NFTA_SET_ELEM_FLAGS).unwrap_or(0) & NFT_SET_ELEM_INTERVAL_END
                != 0,
            verdict: find(entry, NFTA_SET_ELEM_DATA).and_then(read_verdict),
        })
    })
}

fn read_verdict(data: &[u8]) -> Option<Verdict> {
    let data = find(data, NFTA_DATA_VERDICT)?;
    let code = i32::from_be_bytes(find(data, NFTA_VERDICT_CODE)?.try_into().ok()?);
    let chain = text(data, NFTA_VERDICT_CHAIN);
    match code {
        0 => Some(Verdict::Drop),
        1 => Some(Verdict::Accept),
        NFT_GOTO => Some(Verdict::Goto(chain?.into())),
        NFT_JUMP => Some(Verdict::Jump(chain?.into())),
        NFT_RETURN => Some(Verdict::Return),
        _ => None,
    }
}

/// Puts the entries of a whole set together; `None` if they aren't what we would have written.
pub fn elements(kind: SetKind, entries: Vec<Entry>) -> Option<Vec<(Element, Option<Verdict>)>> {
    if let SetKind::AddressRanges(_) = kind {
        return ranges(entries);
    }
    entries
        .into_iter()
        .map(|entry| {
            let element = match kind {
                SetKind::Addresses(_) | SetKind::AddressRanges(_) => {
                    Element::Address(read_address(&entry.key)?)
                }
                SetKind::Endpoints(_) => {
                    let split = entry.key.len().checked_sub(8)?;
                    let (protocol, number) = read_port(&entry.key[split..])?;
                    Element::Endpoint(read_address(&entry.key[..split])?, protocol, number)
                }
                SetKind::Ports => {
                    let (protocol, number) = read_port(&entry.key)?;
                    Element::Port(protocol, number)
                }
                SetKind::PortRanges => {
                    let (protocol, first) = read_port(&entry.key)?;
                    // A range of one may come back without its end.
                    let (_, last) = read_port(entry.end.as_ref().unwrap_or(&entry.key))?;
                    Element::Ports(protocol, first, last)
                }
            };
            Some((element, entry.verdict))
        })
        .collect()
}

/// Pairs each start with the end after it; the kernel lists them in any order.
fn ranges(entries: Vec<Entry>) -> Option<Vec<(Element, Option<Verdict>)>> {
    let mut edges: Vec<(Vec<u8>, bool)> = entries
        .into_iter()
        .map(|entry| (entry.key, entry.interval_end))
        .collect();
    // Where a range ends and the next begins, the end comes first.
    edges.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut ranges = Vec::new();
    let mut open: Option<IpAddr> = None;
    for (key, is_end) in edges {
        let address = read_address(&key)?;
        match (open.take(), is_end) {
            (None, false) => open = Some(address),
            (Some(first), true) => {
                ranges.push((Element::Addresses(first, predecessor(address)?), None));
            }
            // nft puts an end before the first range.
            (None, true) => {}
            (Some(_), false) => return None,
        }
    }
    if let Some(first) = open {
        let last = if first.is_ipv4() {
            [0xff; 4].into()
        } else {
            [0xff; 16].into()
        };
        ranges.push((Element::Addresses(first, last), None));
    }
    Some(ranges)
}

fn address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn port(protocol: Protocol, port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [protocol.number(), 0, 0, 0, high, low, 0, 0]
}

fn read_port(bytes: &[u8]) -> Option<(Protocol, u16)> {
    match bytes {
        [protocol, 0, 0, 0, high, low, 0, 0] => Some((
            Protocol::from_number(*protocol)?,
            u16::from_be_bytes([*high, *low]),
        )),
        _ => None,
    }
}

fn successor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip)
            .checked_add(1)
            .map(|ip| IpAddr::V6(ip.into())),
    }
}

fn predecessor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_sub(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip)
            .checked_sub(1)
            .map(|ip| IpAddr::V6(ip.into())),
    }
}
