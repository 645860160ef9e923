//! What the kernel holds, read back as a ruleset.
//!
//! Rules are recognised by their tag. One without a tag that we know becomes a rule that equals none of ours, so
//! that comparing finds it.

use super::attribute::{be32, find, text};
use super::consts::*;
use super::element::{self, Entry, KeyType};
use super::encode::{PRIORITY, hook_number};
use crate::domain::name::Name;
use crate::domain::ruleset::{Chain, Hook, Rule, Ruleset, Set, SetKind, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A set's name, kind and whether it is a map; the kind is `None` if it isn't one of ours.
pub fn set(attributes: &[u8]) -> Option<(Name, Option<SetKind>, bool)> {
    let name = text(attributes, NFTA_SET_NAME)?.into();
    let flags = be32(attributes, NFTA_SET_FLAGS).unwrap_or(0);
    let number = be32(attributes, NFTA_SET_KEY_TYPE)?;
    let verdicts = be32(attributes, NFTA_SET_DATA_TYPE).is_none_or(|kind| kind == NFT_DATA_VERDICT);
    let kind = KeyType::parse(number, flags).filter(|_| verdicts);
    Some((name, kind, flags & NFT_SET_MAP != 0))
}

/// The entries of one message of a list of elements.
pub fn entries(attributes: &[u8]) -> impl Iterator<Item = Entry> {
    element::read_entries(find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default())
}

/// A chain's name and hook. A base chain that isn't one of ours has a hook that differs from ours by being `Err`.
pub fn chain(attributes: &[u8]) -> Option<(Name, Result<Option<Hook>, ()>)> {
    let name = text(attributes, NFTA_CHAIN_NAME)?.into();
    let Some(hook) = find(attributes, NFTA_CHAIN_HOOK) else {
        return Some((name, Ok(None)));
    };
    let number = be32(hook, NFTA_HOOK_HOOKNUM);
    let ours = be32(hook, NFTA_HOOK_PRIORITY) == Some(PRIORITY)
        && be32(attributes, NFTA_CHAIN_POLICY) == Some(NF_ACCEPT);
    let known = [Hook::Forward, Hook::Input]
        .into_iter()
        .find(|hook| ours && number == Some(hook_number(*hook)));
    Some((name, known.map(Some).ok_or(())))
}

/// A rule's chain and tag.
pub fn rule(attributes: &[u8]) -> Option<(Name, Name)> {
    let chain = text(attributes, NFTA_RULE_CHAIN)?.into();
    let comment = find(attributes, NFTA_RULE_USERDATA).unwrap_or_default();
    let tag = match comment {
        [NFTNL_UDATA_RULE_COMMENT, length, rest @ ..] => {
            let text = rest.get(..usize::from(*length)).unwrap_or_default();
            std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).unwrap_or_default()
        }
        _ => "",
    };
    Some((chain, tag.into()))
}

/// Everything read from the kernel, before it is put together.
#[derive(Default)]
pub struct Observed {
    /// Chains.
    pub chains: Vec<(Name, Result<Option<Hook>, ()>)>,
    /// Chain and tag of each rule, in order within a chain.
    pub rules: Vec<(Name, Name)>,
    /// Sets with their entries.
    pub sets: Vec<(Name, Option<SetKind>, bool, Vec<Entry>)>,
}

impl Observed {
    /// The ruleset it is; rules are found among those of `known`. `None` if it holds anything that can't be
    /// changed step by step into one of ours, so that only replacing the table helps.
    pub fn into_ruleset(self, known: &Ruleset) -> Option<Ruleset> {
        let rules = known.chains.values().flat_map(|chain| &chain.rules);
        let known: HashMap<Name, &Rule> = rules.map(|rule| (rule.tag(), rule)).collect();
        let mut chains = BTreeMap::new();
        for (name, hook) in self.chains {
            chains.insert(
                name,
                Chain {
                    hook: hook.ok()?,
                    rules: Vec::new(),
                },
            );
        }
        for (chain, tag) in self.rules {
            let rule = match known.get(&tag) {
                Some(rule) => (*rule).clone(),
                // Equals no rule of ours: none of them jumps to a chain of this name.
                None => Rule::always(Verdict::Jump(format!("unknown {tag}").into())),
            };
            chains.get_mut(&chain)?.rules.push(rule);
        }
        let mut sets = BTreeMap::new();
        for (name, kind, map, entries) in self.sets {
            let kind = kind?;
            let elements = element::elements(kind, entries)?.into_iter().collect();
            sets.insert(
                name,
                Arc::new(Set {
                    kind,
                    map,
                    elements,
                }),
            );
        }
        let chains = chains
            .into_iter()
            .map(|(name, chain)| (name, Arc::new(chain)))
            .collect();
        Some(Ruleset { chains, sets })
    }
}
