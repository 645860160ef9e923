use std::collections::BTreeSet;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::domain::record::Scope;

fn record() -> Record {
    Record {
        hash: TokenKey::new(b"key").hash("0123456789", "secret"),
        scope: Scope::default(),
        description: String::new(),
        created: 0,
        expires: 100,
        revoked: false,
        uses: 0,
        joins: Vec::new(),
    }
}

fn attempt(join: &JoinId) -> Attempt<'_> {
    Attempt {
        node_name: "node-1",
        source: Some([10, 0, 0, 1].into()),
        join: Some(join),
    }
}

fn token(secret: &str) -> JoinToken {
    let secret = Zeroizing::new(secret.to_owned());
    JoinToken {
        ca_hash: None,
        id: "0123456789".to_owned(),
        secret,
    }
}

#[test]
fn only_the_right_secret_of_a_known_token() {
    let (key, record) = (TokenKey::new(b"key"), record());
    assert!(authenticate(Some(&record), &token("secret"), &key).is_ok());
    assert_eq!(
        authenticate(Some(&record), &token("secreT"), &key),
        Err(Refusal::Unknown)
    );
    assert_eq!(
        authenticate(None, &token("secret"), &key),
        Err(Refusal::Unknown)
    );
    let other = TokenKey::new(b"other");
    assert_eq!(
        authenticate(Some(&record), &token("secret"), &other),
        Err(Refusal::Unknown)
    );
    let damaged = Record {
        hash: "00".to_owned(),
        ..record
    };
    assert_eq!(
        authenticate(Some(&damaged), &token("secret"), &key),
        Err(Refusal::Unknown)
    );
}

#[test]
fn the_pinned_ca_must_be_ours() {
    let ours = CaHash::of_bundle("ours");
    let with = |bundle| JoinToken {
        ca_hash: Some(CaHash::of_bundle(bundle)),
        ..token("secret")
    };
    assert_eq!(check_form(&with("ours"), ours, false), Ok(()));
    assert_eq!(
        check_form(&with("theirs"), ours, true),
        Err(Refusal::CaMismatch)
    );
    assert_eq!(check_form(&token("secret"), ours, true), Ok(()));
    assert!(matches!(
        check_form(&token("secret"), ours, false),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn mapped_addresses_are_those_they_mean() {
    let join = JoinId::of(b"join");
    let mut record = record();
    record.scope.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    let from = |source: Option<&str>| {
        let source = source.map(|source| source.parse().unwrap());
        decide(
            &record,
            "id",
            &Attempt {
                source,
                ..attempt(&join)
            },
            0,
        )
    };
    assert_eq!(from(Some("10.1.2.3")), Ok(Accepted::Counts));
    assert_eq!(from(Some("::ffff:10.1.2.3")), Ok(Accepted::Counts));
    assert!(matches!(from(Some("11.1.2.3")), Err(Refusal::Scope(_))));
    assert!(matches!(from(None), Err(Refusal::Scope(_))));
}

#[test]
fn a_used_up_token_still_answers_the_joins_that_used_it() {
    let (one, two) = (JoinId::of(b"one"), JoinId::of(b"two"));
    let mut record = record();
    record.scope.max_uses = 1;
    let record = record.used_by(one.clone());
    assert_eq!(
        decide(&record, "id", &attempt(&one), 0),
        Ok(Accepted::Again)
    );
    assert_eq!(
        decide(&record, "id", &attempt(&two), 0),
        Err(Refusal::UsedUp("id".to_owned()))
    );
}

#[derive(Clone, Debug)]
struct Step {
    join: u8,
    node: u8,
    network: u8,
    pass: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..6, 0u8..3, 0u8..3, 0i64..8);
    let step = step.prop_map(|(join, node, network, pass)| Step {
        join,
        node,
        network,
        pass,
    });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Against a model that only counts: a set of joins, a clock, and two comparisons.
    #[test]
    fn agrees_with_the_model(
        steps in steps(),
        max_uses in 0u32..4,
        node in prop::option::of(0u8..3),
        network in prop::option::of(0u8..3),
        revoke_at in prop::option::of(0usize..60),
        ttl in 1i64..200,
    ) {
        let mut record = Record { expires: ttl, ..record() };
        record.scope.max_uses = max_uses;
        record.scope.node_name = node.map(|node| format!("node-{node}"));
        record.scope.cidrs =
            network.map(|net| format!("10.{net}.0.0/16").parse().unwrap()).into_iter().collect();
        let mut joined = BTreeSet::new();
        let mut now = 0;
        for (index, step) in steps.iter().enumerate() {
            now += step.pass;
            record.revoked |= revoke_at == Some(index);

            let allowed = revoke_at.is_none_or(|at| index < at)
                && now < ttl
                && node.is_none_or(|node| node == step.node)
                && network.is_none_or(|network| network == step.network);
            let free = max_uses == 0 || joined.len() < max_uses as usize;
            let expected = match (allowed, joined.contains(&step.join), free) {
                (false, _, _) | (true, false, false) => None,
                (true, true, _) => Some(Accepted::Again),
                (true, false, true) => Some(Accepted::Counts),
            };

            let join = JoinId::of(&[step.join]);
            let name = format!("node-{}", step.node);
            let source = Some([10, step.network, 0, 1].into());
            let attempt = Attempt { node_name: &name, source, join: Some(&join) };
            let decided = decide(&record, "id", &attempt, now);
            prop_assert_eq!(decided.clone().ok(), expected, "{:?}", decided);
            if expected == Some(Accepted::Counts) {
                joined.insert(step.join);
                record = record.used_by(join);
            }
            prop_assert_eq!(record.uses as usize, joined.len());
        }
    }
}
