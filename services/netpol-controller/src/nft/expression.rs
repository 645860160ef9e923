//! Rules as the kernel's expressions, the same that `nft` makes, so that `nft list` shows them readably.

use super::attribute::Attributes;
use super::consts::*;
use super::element::write_verdict;
use crate::domain::name::Name;
use crate::domain::ruleset::{Action, Family, Field, Match, Rule, Verdict};

/// Writes the expressions of a rule.
pub fn write(list: &mut Attributes, rule: &Rule) {
    for condition in &rule.matches {
        write_match(list, condition);
    }
    match &rule.action {
        Action::LookUp(field, map) => {
            load(list, *field);
            expression(list, "lookup", |data| {
                data.text(NFTA_LOOKUP_SET, map);
                data.be32(NFTA_LOOKUP_SREG, NFT_REG_1);
                data.be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
            });
        }
        Action::Verdict(verdict) => {
            if *verdict == Verdict::Drop {
                expression(list, "counter", |_| {});
            }
            expression(list, "immediate", |data| {
                data.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                data.nest(NFTA_IMMEDIATE_DATA, |data| write_verdict(data, verdict));
            });
        }
    }
}

fn write_match(list: &mut Attributes, condition: &Match) {
    match condition {
        Match::Established => ct_state(list, CT_STATE_ESTABLISHED),
        Match::InSet(field, set) => {
            load(list, *field);
            look_up(list, set);
        }
        Match::Midstream => {
            const FIN_SYN_RST_ACK: u8 = 0x17;
            const SYN: u8 = 0x02;
            ct_state(list, CT_STATE_NEW);
            meta(list, NFT_META_L4PROTO, NFT_REG_1);
            compare(list, NFT_CMP_EQ, &[6]);
            payload(list, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, NFT_REG_1);
            mask(list, &[FIN_SYN_RST_ACK]);
            compare(list, NFT_CMP_NEQ, &[SYN]);
        }
        Match::NeighbourDiscovery => {
            const ROUTER_SOLICITATION: u8 = 133;
            const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
            icmp(list, Family::V6);
            payload(list, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1);
            compare(list, NFT_CMP_GTE, &[ROUTER_SOLICITATION]);
            compare(list, NFT_CMP_LTE, &[NEIGHBOUR_ADVERTISEMENT]);
        }
        Match::RelatedError(family) => {
            ct_state(list, CT_STATE_RELATED);
            icmp(list, *family);
        }
        Match::Reply => {
            ct(list, NFT_CT_DIRECTION);
            compare(list, NFT_CMP_EQ, &[CT_DIRECTION_REPLY]);
        }
    }
}

/// Loads a field into the registers from the first on. A packet that lacks it ends the rule.
fn load(list: &mut Attributes, field: Field) {
    match field {
        Field::Destination(family) => address(list, family, 16, 24),
        Field::DestinationEndpoint(family) => {
            address(list, family, 16, 24);
            let words = if family == Family::V4 { 1 } else { 4 };
            port(list, NFT_REG32_00 + words);
        }
        Field::Port => port(list, NFT_REG32_00),
        Field::Source(family) => address(list, family, 12, 8),
    }
}

fn address(list: &mut Attributes, family: Family, v4_offset: u32, v6_offset: u32) {
    nfproto(list, family);
    let (offset, length) = match family {
        Family::V4 => (v4_offset, 4),
        Family::V6 => (v6_offset, 16),
    };
    payload(list, NFT_PAYLOAD_NETWORK_HEADER, offset, length, NFT_REG_1);
}

fn port(list: &mut Attributes, register: u32) {
    meta(list, NFT_META_L4PROTO, register);
    payload(list, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register + 1);
}

fn icmp(list: &mut Attributes, family: Family) {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    nfproto(list, family);
    meta(list, NFT_META_L4PROTO, NFT_REG_1);
    compare(
        list,
        NFT_CMP_EQ,
        &[if family == Family::V4 { ICMP } else { ICMPV6 }],
    );
}

fn nfproto(list: &mut Attributes, family: Family) {
    meta(list, NFT_META_NFPROTO, NFT_REG_1);
    compare(
        list,
        NFT_CMP_EQ,
        &[if family == Family::V4 {
            NFPROTO_IPV4
        } else {
            NFPROTO_IPV6
        }],
    );
}

fn ct_state(list: &mut Attributes, state: u32) {
    ct(list, NFT_CT_STATE);
    mask(list, &state.to_ne_bytes());
    compare(list, NFT_CMP_NEQ, &[0; 4]);
}

fn ct(list: &mut Attributes, key: u32) {
    expression(list, "ct", |data| {
        data.be32(NFTA_CT_DREG, NFT_REG_1);
        data.be32(NFTA_CT_KEY, key);
    });
}

fn meta(list: &mut Attributes, key: u32, register: u32) {
    expression(list, "meta", |data| {
        data.be32(NFTA_META_DREG, register);
        data.be32(NFTA_META_KEY, key);
    });
}

fn payload(list: &mut Attributes, base: u32, offset: u32, length: u32, register: u32) {
    expression(list, "payload", |data| {
        data.be32(NFTA_PAYLOAD_DREG, register);
        data.be32(NFTA_PAYLOAD_BASE, base);
        data.be32(NFTA_PAYLOAD_OFFSET, offset);
        data.be32(NFTA_PAYLOAD_LEN, length);
    });
}

fn compare(list: &mut Attributes, operator: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.be32(NFTA_CMP_SREG, NFT_REG_1);
        data.be32(NFTA_CMP_OP, operator);
        data.nest(NFTA_CMP_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
    });
}

fn mask(list: &mut Attributes, mask: &[u8]) {
    expression(list, "bitwise", |data| {
        data.be32(NFTA_BITWISE_SREG, NFT_REG_1);
        data.be32(NFTA_BITWISE_DREG, NFT_REG_1);
        data.be32(NFTA_BITWISE_LEN, mask.len() as u32);
        data.nest(NFTA_BITWISE_MASK, |data| data.bytes(NFTA_DATA_VALUE, mask));
        data.nest(NFTA_BITWISE_XOR, |data| {
            data.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()])
        });
    });
}

fn look_up(list: &mut Attributes, set: &Name) {
    expression(list, "lookup", |data| {
        data.text(NFTA_LOOKUP_SET, set);
        data.be32(NFTA_LOOKUP_SREG, NFT_REG_1);
    });
}

fn expression(list: &mut Attributes, name: &str, write: impl FnOnce(&mut Attributes)) {
    list.nest(NFTA_LIST_ELEM, |entry| {
        entry.text(NFTA_EXPR_NAME, name);
        entry.nest(NFTA_EXPR_DATA, write);
    });
}
