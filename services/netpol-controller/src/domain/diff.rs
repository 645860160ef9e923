//! From one ruleset to another, as the fewest operations the kernel needs.
//!
//! A plan has three parts. `prepare` adds what nothing leads to yet; `switch` brings it into force, in one
//! transaction; `collect` removes what nothing leads to any more. Big plans may therefore be committed in pieces
//! without any packet seeing half a policy.

use super::frame;
use super::name::Name;
use super::ruleset::{Chain, Element, Hook, Rule, Ruleset, Set, SetKind, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One operation on the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds a chain without rules.
    AddChain(Name, Option<Hook>),
    /// Adds elements; those of a map with their verdict.
    AddElements(Name, SetKind, Vec<(Element, Option<Verdict>)>),
    /// Appends a rule to a chain.
    AddRule(Name, Rule),
    /// Adds a set without elements; the flag says whether it is a map.
    AddSet(Name, SetKind, bool),
    /// Creates the table.
    AddTable,
    /// Removes a chain that has no rules and that nothing refers to.
    DeleteChain(Name),
    /// Removes elements.
    DeleteElements(Name, SetKind, Vec<Element>),
    /// Removes a set with its elements.
    DeleteSet(Name),
    /// Removes the table with all that is in it.
    DeleteTable,
    /// Removes the rules of a chain.
    FlushChain(Name),
}

/// What to do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Without effect on packets; may be split.
    pub prepare: Vec<Op>,
    /// One transaction.
    pub switch: Vec<Op>,
    /// Without effect on packets; may be split.
    pub collect: Vec<Op>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.prepare.is_empty() && self.switch.is_empty() && self.collect.is_empty()
    }

    /// All operations in order.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.prepare.iter().chain(&self.switch).chain(&self.collect)
    }

    /// Whether it takes away anything that could have let a packet pass.
    pub fn may_revoke(&self) -> bool {
        // A switch that gains an element isolates a pod; any other set that gains one allows more.
        self.switch.iter().any(|op| match op {
            Op::AddElements(set, ..) => frame::is_switch(set),
            _ => true,
        })
    }
}

/// What leads from `old` to `new`; `None` means that there is no table.
pub fn diff(old: Option<&Ruleset>, new: &Ruleset) -> Plan {
    match old {
        None => {
            let mut plan = changes(&Ruleset::default(), new);
            plan.prepare.insert(0, Op::AddTable);
            plan
        }
        Some(old) if compatible(old, new) => changes(old, new),
        Some(_) => {
            let plan = changes(&Ruleset::default(), new);
            let mut switch = vec![Op::DeleteTable, Op::AddTable];
            switch.extend(plan.ops().cloned());
            Plan {
                switch,
                ..Plan::default()
            }
        }
    }
}

/// Whether what has the same name can be changed in place. What the compiler makes always can; what somebody else
/// left in our table may not.
fn compatible(old: &Ruleset, new: &Ruleset) -> bool {
    let sets = both(&old.sets, &new.sets).all(|(_, a, b)| {
        let same_type = a.kind == b.kind && a.map == b.map;
        same_type && (!a.kind.is_interval() || a.elements == b.elements)
    });
    sets && both(&old.chains, &new.chains).all(|(_, a, b)| a.hook == b.hook)
}

fn changes(old: &Ruleset, new: &Ruleset) -> Plan {
    let mut plan = Plan::default();
    let new_chains: Vec<_> = only_in(&new.chains, &old.chains).collect();
    let new_sets: Vec<_> = only_in(&new.sets, &old.sets).collect();
    plan.prepare.extend(
        new_chains
            .iter()
            .map(|(n, c)| Op::AddChain((*n).clone(), c.hook)),
    );
    plan.prepare.extend(
        new_sets
            .iter()
            .map(|(n, s)| Op::AddSet((*n).clone(), s.kind, s.map)),
    );
    for (name, set) in &new_sets {
        let part = if frame::is_switch(name) {
            &mut plan.switch
        } else {
            &mut plan.prepare
        };
        part.extend(add_elements(name, set, set.elements.iter()));
    }
    for (name, chain) in &new_chains {
        plan.prepare.extend(add_rules(name, chain));
    }
    for (name, before, now) in both(&old.sets, &new.sets) {
        plan.switch.extend(element_changes(name, before, now));
    }
    for (name, before, now) in both(&old.chains, &new.chains) {
        if before.rules != now.rules {
            plan.switch.push(Op::FlushChain(name.clone()));
            plan.switch.extend(add_rules(name, now));
        }
    }
    let old_chains: Vec<_> = only_in(&old.chains, &new.chains)
        .map(|(name, _)| name)
        .collect();
    plan.collect.extend(
        old_chains
            .iter()
            .map(|name| Op::FlushChain((*name).clone())),
    );
    let old_sets = only_in(&old.sets, &new.sets);
    plan.collect
        .extend(old_sets.map(|(name, _)| Op::DeleteSet(name.clone())));
    plan.collect.extend(
        old_chains
            .into_iter()
            .map(|name| Op::DeleteChain(name.clone())),
    );
    plan
}

/// A verdict is changed by removing the element and adding it again, in one transaction.
fn element_changes(name: &Name, before: &Set, now: &Set) -> Vec<Op> {
    let gone = before
        .elements
        .iter()
        .filter(|(key, v)| now.elements.get(key) != Some(v));
    let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
    let come = now
        .elements
        .iter()
        .filter(|(key, v)| before.elements.get(key) != Some(v));
    let mut ops = Vec::new();
    if !gone.is_empty() {
        ops.push(Op::DeleteElements(name.clone(), now.kind, gone));
    }
    ops.extend(add_elements(name, now, come));
    ops
}

fn add_elements<'a>(
    name: &Name,
    set: &Set,
    elements: impl Iterator<Item = (&'a Element, &'a Option<Verdict>)>,
) -> Option<Op> {
    let elements: Vec<_> = elements
        .map(|(key, verdict)| (*key, verdict.clone()))
        .collect();
    (!elements.is_empty()).then(|| Op::AddElements(name.clone(), set.kind, elements))
}

fn add_rules<'a>(name: &'a Name, chain: &'a Chain) -> impl Iterator<Item = Op> + 'a {
    chain
        .rules
        .iter()
        .map(|rule| Op::AddRule(name.clone(), rule.clone()))
}

fn only_in<'a, V>(
    these: &'a BTreeMap<Name, Arc<V>>,
    those: &'a BTreeMap<Name, Arc<V>>,
) -> impl Iterator<Item = (&'a Name, &'a Arc<V>)> {
    these.iter().filter(|(name, _)| !those.contains_key(*name))
}

/// What both have under one name and isn't the very same.
fn both<'a, V>(
    old: &'a BTreeMap<Name, Arc<V>>,
    new: &'a BTreeMap<Name, Arc<V>>,
) -> impl Iterator<Item = (&'a Name, &'a Arc<V>, &'a Arc<V>)> {
    new.iter().filter_map(|(name, now)| {
        let before = old.get(name)?;
        (!Arc::ptr_eq(before, now)).then_some((name, before, now))
    })
}
