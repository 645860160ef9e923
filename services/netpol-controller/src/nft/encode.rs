//! Operations as netlink messages.

use super::attribute::Attributes;
use super::consts::*;
use super::element::{self, KeyType};
use super::expression;
use super::message::Message;
use crate::domain::diff::Op;
use crate::domain::ruleset::{Element, Hook, Rule, SetKind, TABLE, Verdict};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

/// Priority of our base chains: a little after filtering (0), where kube-proxy's chains are, so that a Service without
/// endpoints is refused aloud rather than lost; after destination NAT (-100) and before source NAT (100).
pub const PRIORITY: u32 = 10;

/// An attribute's length has 16 bits; lists are cut well below.
const LIST_LIMIT: usize = 32 * 1024;

/// The messages of operations, in order. `set_id` numbers new sets; the kernel wants each to have a number.
pub fn encode<'a>(ops: impl IntoIterator<Item = &'a Op>, set_id: &mut u32) -> Vec<Message> {
    let mut messages = Vec::new();
    for op in ops {
        match op {
            Op::AddElements(set, _, elements) => {
                let entries = elements
                    .iter()
                    .map(|(key, verdict)| (key, verdict.as_ref()));
                messages.extend(element_lists(
                    NFT_MSG_NEWSETELEM,
                    NLM_F_CREATE,
                    set,
                    entries,
                ));
            }
            Op::DeleteElements(set, _, elements) => {
                let entries = elements.iter().map(|key| (key, None));
                messages.extend(element_lists(NFT_MSG_DELSETELEM, 0, set, entries));
            }
            Op::AddSet(name, kind, map) => {
                *set_id += 1;
                messages.push(add_set(name, *kind, *map, *set_id));
            }
            other => messages.extend(single(other)),
        }
    }
    messages
}

/// Operations that are one message each.
fn single(op: &Op) -> Option<Message> {
    let message = match op {
        Op::AddTable => Message::inet(NFT_MSG_NEWTABLE, NLM_F_CREATE, |a| {
            a.text(NFTA_TABLE_NAME, TABLE);
            a.be32(NFTA_TABLE_FLAGS, 0);
        }),
        Op::DeleteTable => Message::inet(NFT_MSG_DELTABLE, 0, |a| a.text(NFTA_TABLE_NAME, TABLE)),
        Op::AddChain(name, hook) => Message::inet(NFT_MSG_NEWCHAIN, NLM_F_CREATE, |a| {
            a.text(NFTA_CHAIN_TABLE, TABLE);
            a.text(NFTA_CHAIN_NAME, name);
            if let Some(hook) = hook {
                write_hook(a, *hook);
            }
        }),
        Op::DeleteChain(name) => Message::inet(NFT_MSG_DELCHAIN, 0, |a| {
            a.text(NFTA_CHAIN_TABLE, TABLE);
            a.text(NFTA_CHAIN_NAME, name);
        }),
        Op::AddRule(chain, rule) => add_rule(chain, rule),
        Op::FlushChain(chain) => Message::inet(NFT_MSG_DELRULE, 0, |a| {
            a.text(NFTA_RULE_TABLE, TABLE);
            a.text(NFTA_RULE_CHAIN, chain);
        }),
        Op::DeleteSet(name) => Message::inet(NFT_MSG_DELSET, 0, |a| {
            a.text(NFTA_SET_TABLE, TABLE);
            a.text(NFTA_SET_NAME, name);
        }),
        Op::AddElements(..) | Op::AddSet(..) | Op::DeleteElements(..) => return None,
    };
    Some(message)
}

fn write_hook(a: &mut Attributes, hook: Hook) {
    a.nest(NFTA_CHAIN_HOOK, |a| {
        a.be32(NFTA_HOOK_HOOKNUM, hook_number(hook));
        a.be32(NFTA_HOOK_PRIORITY, PRIORITY);
    });
    a.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
    a.text(NFTA_CHAIN_TYPE, "filter");
}

/// The kernel's number of a hook.
pub fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Forward => NF_INET_FORWARD,
        Hook::Input => NF_INET_LOCAL_IN,
    }
}

/// The rule carries its tag as a comment, by which it is recognised when read back.
fn add_rule(chain: &str, rule: &Rule) -> Message {
    Message::inet(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |a| {
        a.text(NFTA_RULE_TABLE, TABLE);
        a.text(NFTA_RULE_CHAIN, chain);
        a.nest(NFTA_RULE_EXPRESSIONS, |list| expression::write(list, rule));
        a.bytes(NFTA_RULE_USERDATA, &comment(&rule.tag()));
    })
}

/// A comment as nft stores it: type, length with NUL, text with NUL.
fn comment(text: &str) -> Vec<u8> {
    // Tags have 32 characters.
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![NFTNL_UDATA_RULE_COMMENT, length];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

fn add_set(name: &str, kind: SetKind, map: bool, id: u32) -> Message {
    let key = KeyType::of(kind);
    Message::inet(NFT_MSG_NEWSET, NLM_F_CREATE, |a| {
        a.text(NFTA_SET_TABLE, TABLE);
        a.text(NFTA_SET_NAME, name);
        a.be32(
            NFTA_SET_FLAGS,
            key.flags | if map { NFT_SET_MAP } else { 0 },
        );
        a.be32(NFTA_SET_KEY_TYPE, key.number);
        a.be32(NFTA_SET_KEY_LEN, key.length);
        if map {
            a.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
            a.be32(NFTA_SET_DATA_LEN, 0);
        }
        a.be32(NFTA_SET_ID, id);
        if !key.fields.is_empty() {
            a.nest(NFTA_SET_DESC, |a| {
                a.nest(NFTA_SET_DESC_CONCAT, |a| {
                    for length in key.fields {
                        a.nest(NFTA_LIST_ELEM, |a| a.be32(NFTA_SET_FIELD_LEN, *length));
                    }
                });
            });
        }
    })
}

fn element_lists<'a>(
    operation: u16,
    flags: u16,
    set: &str,
    entries: impl Iterator<Item = (&'a Element, Option<&'a Verdict>)>,
) -> Vec<Message> {
    let mut entries = entries.peekable();
    let mut messages = Vec::new();
    while entries.peek().is_some() {
        messages.push(Message::inet(operation, flags, |a| {
            a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
            a.text(NFTA_SET_ELEM_LIST_SET, set);
            a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                while list.size() < LIST_LIMIT
                    && let Some((key, verdict)) = entries.next()
                {
                    element::write(list, key, verdict);
                }
            });
        }));
    }
    messages
}
