//! Ends connections that no policy allows any more.
//!
//! The table judges each packet in the direction that opened a connection, so those stop at the commit. Replies
//! would still pass while their connection is tracked: it is removed, and what then comes from the answering side
//! is judged as new.

use crate::domain::verdict::{Packet, Tracked};
use crate::error::Result;
use crate::nft::attribute::{each, find};
use crate::nft::consts::{NFNL_SUBSYS_CTNETLINK, NFPROTO_IPV4, NFPROTO_IPV6};
use crate::nft::kernel::is;
use crate::nft::message::Message;
use crate::nft::socket::NetfilterSocket;
use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP};
use nix::errno::Errno;
use std::collections::HashSet;
use std::net::IpAddr;

const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;

/// A tracked connection.
#[derive(Debug)]
pub struct Connection {
    /// Its next packet in the direction that opened it, as our table sees it: behind destination NAT, before
    /// source NAT.
    pub packet: Packet,
    /// What names it to the kernel.
    identity: Vec<(u16, Vec<u8>)>,
}

/// The tracked connections of the calling thread's network namespace.
pub fn list() -> Result<Vec<Connection>> {
    let mut socket = NetfilterSocket::open()?;
    let question = Message::new(
        NFNL_SUBSYS_CTNETLINK,
        IPCTNL_MSG_CT_GET,
        NLM_F_DUMP,
        0,
        |_| {},
    );
    let mut connections = Vec::new();
    // Connections come and go while they are listed; that's no reason to begin anew.
    socket.dump("listing connections", question, |attributes| {
        connections.extend(connection(attributes));
    })?;
    Ok(connections)
}

/// Removes connections from tracking. Gives how many were still there.
pub fn remove(connections: &[Connection]) -> Result<u64> {
    let mut socket = NetfilterSocket::open()?;
    let mut removed = 0;
    for connection in connections {
        let family = if connection.packet.source.is_ipv4() {
            NFPROTO_IPV4
        } else {
            NFPROTO_IPV6
        };
        let order = Message::new(
            NFNL_SUBSYS_CTNETLINK,
            IPCTNL_MSG_CT_DELETE,
            NLM_F_ACK,
            family,
            |a| {
                for (kind, value) in &connection.identity {
                    a.bytes(*kind, value);
                }
            },
        );
        match socket.execute("removing a connection", order) {
            Ok(()) => removed += 1,
            Err(error) if is(&error, Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Addresses of the node itself, whose own connections no policy judges.
pub fn own_addresses() -> HashSet<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
        })
        .collect()
}

fn connection(attributes: &[u8]) -> Option<Connection> {
    let original = find(attributes, CTA_TUPLE_ORIG)?;
    let answering = find(attributes, CTA_TUPLE_REPLY)?;
    let protocol = find(answering, CTA_TUPLE_PROTO)?;
    let port = find(protocol, CTA_PROTO_SRC_PORT).and_then(|port| port.try_into().ok());
    let identity = each(attributes).filter_map(|(kind, value)| match kind {
        CTA_TUPLE_ORIG => Some((kind | NLA_F_NESTED, value.to_vec())),
        CTA_ID | CTA_ZONE => Some((kind, value.to_vec())),
        _ => None,
    });
    Some(Connection {
        packet: Packet {
            source: source(original)?,
            destination: source(answering)?,
            protocol: *find(protocol, CTA_PROTO_NUM)?.first()?,
            port: port.map_or(0, u16::from_be_bytes),
            tracked: Tracked::Original,
        },
        identity: identity.collect(),
    })
}

fn source(tuple: &[u8]) -> Option<IpAddr> {
    let ip = find(tuple, CTA_TUPLE_IP)?;
    let v4 = find(ip, CTA_IP_V4_SRC)
        .and_then(|ip| <[u8; 4]>::try_from(ip).ok())
        .map(IpAddr::from);
    v4.or_else(|| Some(<[u8; 16]>::try_from(find(ip, CTA_IP_V6_SRC)?).ok()?.into()))
}
