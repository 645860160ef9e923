//! The fixed part of the table: base chains, and the maps that send a pod's packets to its program.
//!
//! Only packets in the direction that opened a connection are judged, each one, so a policy holds from the commit
//! on for connections that exist already. Replies pass; their connections are removed from connection tracking
//! when they are no longer allowed (see `conntrack`), and what then comes without a SYN is not taken for a new
//! connection of the answering side.
//!
//! Every denied packet ends in one of three chains that only count and drop. They never change, so the counts live as
//! long as the table, and a packet that passes pays nothing for them.

use super::model::Direction;
use super::name::Name;
use super::ruleset::{Action, Chain, Family, Field, Hook, Match, Rule, Set, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happens to connections that exist when a policy comes to forbid them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Established {
    /// They end, within a second.
    #[default]
    Cut,
    /// They live on.
    Keep,
}

/// What a packet is denied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The policies of the pod that sends it, or of the one that it goes to.
    Policy(Direction),
    /// Its TCP connection was cut.
    Midstream,
}

impl Denial {
    /// All.
    pub const ALL: [Self; 3] = [
        Self::Policy(Direction::Egress),
        Self::Policy(Direction::Ingress),
        Self::Midstream,
    ];

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy(Direction::Egress) => "egress",
            Self::Policy(Direction::Ingress) => "ingress",
            Self::Midstream => "midstream",
        }
    }

    /// The chain that counts and drops it.
    pub fn chain(self) -> Name {
        format!("deny-{}", self.name()).into()
    }

    /// The verdict that leads there.
    pub fn verdict(self) -> Verdict {
        Verdict::Goto(self.chain())
    }
}

/// The map from pods with an egress policy to what decides their packets.
pub fn egress(family: Family) -> Name {
    format!("egress{}", family.digit()).into()
}

/// The map from pods with an ingress policy to what decides packets to them.
pub fn ingress(family: Family) -> Name {
    format!("ingress{}", family.digit()).into()
}

/// The addresses of pods with a policy of either direction.
pub fn isolated(family: Family) -> Name {
    format!("isolated{}", family.digit()).into()
}

/// Whether a set is one of the above. They bring a policy into force, so they change last and together.
pub fn is_switch(set: &str) -> bool {
    Family::ALL.iter().any(|family| {
        [egress(*family), ingress(*family), isolated(*family)]
            .iter()
            .any(|name| **name == *set)
    })
}

/// The switches without elements.
pub fn switches() -> impl Iterator<Item = (Name, Set)> {
    Family::ALL.into_iter().flat_map(|family| {
        [
            (egress(family), Set::dispatch(family)),
            (ingress(family), Set::dispatch(family)),
            (isolated(family), Set::addresses(family)),
        ]
    })
}

/// The base chains and what they jump to.
pub fn chains(established: Established) -> Vec<(Name, Arc<Chain>)> {
    let midstream: Name = "midstream".into();
    let mut forward = tracked(established, &midstream);
    let mut input = forward.clone();
    input.push(accept(vec![Match::NeighbourDiscovery]));
    for family in Family::ALL {
        let sent = Rule::look_up(Field::Source(family), &egress(family));
        input.push(sent.clone());
        forward.push(sent);
        forward.push(Rule::look_up(Field::Destination(family), &ingress(family)));
    }
    let mut chains = vec![
        (
            "forward".into(),
            Chain {
                hook: Some(Hook::Forward),
                rules: forward,
            },
        ),
        (
            "input".into(),
            Chain {
                hook: Some(Hook::Input),
                rules: input,
            },
        ),
    ];
    if established == Established::Cut {
        let rules = Family::ALL
            .iter()
            .flat_map(|family| {
                [Field::Source(*family), Field::Destination(*family)].map(|field| {
                    Rule::when_in(field, &isolated(*family), Denial::Midstream.verdict())
                })
            })
            .collect();
        chains.push((midstream, Chain { hook: None, rules }));
    }
    chains.extend(Denial::ALL.map(|denial| {
        let rules = vec![Rule::always(Verdict::Drop)];
        (denial.chain(), Chain { hook: None, rules })
    }));
    chains
        .into_iter()
        .map(|(name, chain)| (name, Arc::new(chain)))
        .collect()
}

/// What is decided by connection tracking, before any policy.
fn tracked(established: Established, midstream: &Name) -> Vec<Rule> {
    let mut rules = Vec::new();
    match established {
        Established::Keep => rules.push(accept(vec![Match::Established])),
        Established::Cut => rules.push(accept(vec![Match::Established, Match::Reply])),
    }
    rules.extend(Family::ALL.map(|family| accept(vec![Match::RelatedError(family)])));
    if established == Established::Cut {
        rules.push(Rule {
            matches: vec![Match::Midstream],
            action: Action::Verdict(Verdict::Jump(midstream.clone())),
        });
    }
    rules
}

fn accept(matches: Vec<Match>) -> Rule {
    Rule {
        matches,
        action: Action::Verdict(Verdict::Accept),
    }
}
