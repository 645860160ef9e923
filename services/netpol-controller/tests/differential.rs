//! The compiler against the API's text, on random clusters and every packet at a boundary.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod support;

use netpol_controller::domain::diff::{Op, Plan, diff};
use netpol_controller::domain::engine::{Change, Engine};
use netpol_controller::domain::explain::{Question, explain};
use netpol_controller::domain::frame::Established;
use netpol_controller::domain::model::{Key, Protocol};
use netpol_controller::domain::ruleset::{
    Action, Chain, Field, Hook, Match, Rule, Ruleset, Set, Verdict,
};
use netpol_controller::domain::verdict::{Packet, Tracked, passes};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::objects::{NODE, Objects, namespace, namespace_change, pod_change, policy_change};
use support::spec;
use support::world::{PORTS, PROTOCOLS, any_objects, any_pod, any_policy, ends};

/// Compares all pairs of ends on all boundary ports; gives the number of decisions.
fn agree(objects: &Objects, ruleset: &Ruleset) -> Result<usize, TestCaseError> {
    let mut decisions = 0;
    let ends = ends(objects);
    let pairs = ends
        .iter()
        .flat_map(|from| ends.iter().map(move |to| (from, to)));
    for (from, to) in pairs {
        if from.ip.is_ipv4() != to.ip.is_ipv4() || from.ip == to.ip || !(from.judged || to.judged) {
            continue;
        }
        for (name, number) in PROTOCOLS {
            for port in PORTS {
                let expected = spec::allowed(objects, from, to, name, port);
                let packet = Packet {
                    source: from.ip,
                    destination: to.ip,
                    protocol: number,
                    port,
                    tracked: Tracked::New,
                };
                let found = passes(ruleset, Hook::Forward, &packet);
                prop_assert_eq!(
                    found,
                    expected,
                    "{} -> {} {} {}",
                    from.ip,
                    to.ip,
                    name,
                    port
                );
                decisions += 1;
            }
        }
    }
    Ok(decisions)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_ruleset_decides_as_the_api_says(objects in any_objects()) {
        agree(&objects, objects.engine().ruleset())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn explain_says_what_the_ruleset_does(objects in any_objects()) {
        let mut engine = objects.engine();
        let ends = ends(&objects);
        for from in &ends {
            for to in ends.iter().filter(|to| to.ip.is_ipv4() == from.ip.is_ipv4() && to.ip != from.ip) {
                for protocol in Protocol::ALL {
                    for port in [80, 81, 100] {
                        let (source, destination) = (from.ip, to.ip);
                        let question = Question { source, destination, protocol, port };
                        let answer = explain(&mut engine, &question);
                        let denied = answer.reasons.iter().any(|reason| reason.contains(": denied: "));
                        prop_assert_eq!(answer.allowed, !denied, "{:?} {:?}", question, answer);
                    }
                }
            }
        }
    }
}

/// A change of a random cluster, in terms of its objects.
#[derive(Clone, Debug)]
enum Event {
    Pod(usize, Option<Box<k8s_openapi::api::core::v1::Pod>>),
    Policy(
        usize,
        Option<Box<k8s_openapi::api::networking::v1::NetworkPolicy>>,
    ),
    Namespace(Box<k8s_openapi::api::core::v1::Namespace>),
}

fn any_event() -> impl Strategy<Value = Event> {
    let label = prop::option::of(prop::sample::select(vec!["1", "2"]));
    prop_oneof![
        4 => (0_usize..6).prop_flat_map(|index| {
            prop::option::weighted(0.8, any_pod(index))
                .prop_map(move |pod| Event::Pod(index, pod.map(Box::new)))
        }),
        3 => (0_usize..4).prop_flat_map(|index| {
            prop::option::weighted(0.7, any_policy(index))
                .prop_map(move |policy| Event::Policy(index, policy.map(Box::new)))
        }),
        1 => (prop::sample::select(vec!["x", "y", "z"]), label).prop_map(|(name, label)| {
            let labels = label.map_or(serde_json::json!({}), |label| serde_json::json!({"a": label}));
            Event::Namespace(Box::new(namespace(name, labels)))
        }),
    ]
}

/// What is there after some events, kept by name and independent of the engine.
#[derive(Default)]
struct Model {
    pods: BTreeMap<usize, k8s_openapi::api::core::v1::Pod>,
    policies: BTreeMap<usize, k8s_openapi::api::networking::v1::NetworkPolicy>,
    namespaces: BTreeMap<String, k8s_openapi::api::core::v1::Namespace>,
}

impl Model {
    /// Takes an event; gives the changes that the API would show.
    fn take(&mut self, event: Event) -> Vec<Change> {
        let key = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            Key::new(
                meta.namespace.as_deref().unwrap(),
                meta.name.as_deref().unwrap(),
            )
        };
        let mut changes = Vec::new();
        match event {
            Event::Pod(index, pod) => {
                let before = self.pods.remove(&index).map(|pod| key(&pod.metadata));
                let now = pod.as_ref().map(|pod| key(&pod.metadata));
                if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
                    changes.push(Change::Pod(before, None));
                }
                if let Some(pod) = pod {
                    changes.push(pod_change(&pod));
                    self.pods.insert(index, *pod);
                }
            }
            Event::Policy(index, policy) => {
                let before = self
                    .policies
                    .remove(&index)
                    .map(|policy| key(&policy.metadata));
                let now = policy.as_ref().map(|policy| key(&policy.metadata));
                if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
                    changes.push(Change::Policy(before, None));
                }
                if let Some(policy) = policy {
                    changes.push(policy_change(&policy));
                    self.policies.insert(index, *policy);
                }
            }
            Event::Namespace(namespace) => {
                changes.push(namespace_change(&namespace));
                self.namespaces
                    .insert(namespace.metadata.name.clone().unwrap(), *namespace);
            }
        }
        changes
    }

    fn objects(&self) -> Objects {
        Objects {
            namespaces: self.namespaces.values().cloned().collect(),
            pods: self.pods.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn after_any_events_the_ruleset_is_that_of_a_clean_compile(
        events in prop::collection::vec(any_event(), 1..25),
    ) {
        let mut model = Model::default();
        let mut engine = Engine::new(NODE, Established::Cut);
        let mut kernel: Option<Ruleset> = None;
        for event in events {
            for change in model.take(event) {
                engine.apply(change);
            }
            let wanted = engine.ruleset().clone();
            let plan = diff(kernel.as_ref(), &wanted);
            let mut held = kernel.take().unwrap_or_default();
            carry_out(&mut held, &plan)?;
            prop_assert_eq!(&held, &wanted);
            prop_assert!(diff(Some(&held), &wanted).is_empty());
            let mut clean = model.objects().engine();
            prop_assert_eq!(clean.ruleset(), &wanted);
            kernel = Some(held);
        }
    }
}

/// A kernel in miniature: carries out operations and refuses what the real one would.
fn carry_out(held: &mut Ruleset, plan: &Plan) -> Result<(), TestCaseError> {
    for op in plan.ops() {
        match op {
            Op::AddTable => prop_assert!(held.chains.is_empty() && held.sets.is_empty()),
            Op::DeleteTable => *held = Ruleset::default(),
            Op::AddChain(name, hook) => {
                let chain = Arc::new(Chain {
                    hook: *hook,
                    rules: Vec::new(),
                });
                prop_assert!(held.chains.insert(name.clone(), chain).is_none());
            }
            Op::AddSet(name, kind, map) => {
                let set = Arc::new(Set {
                    kind: *kind,
                    map: *map,
                    elements: BTreeMap::new(),
                });
                prop_assert!(held.sets.insert(name.clone(), set).is_none());
            }
            Op::AddElements(name, _, elements) => {
                for (element, verdict) in elements {
                    prop_assert!(verdict.as_ref().is_none_or(|verdict| exists(held, verdict)));
                    let set = Arc::make_mut(held.sets.get_mut(name).unwrap());
                    prop_assert!(set.elements.insert(*element, verdict.clone()).is_none());
                }
            }
            Op::DeleteElements(name, _, elements) => {
                let set = Arc::make_mut(held.sets.get_mut(name).unwrap());
                for element in elements {
                    prop_assert!(set.elements.remove(element).is_some());
                }
            }
            Op::AddRule(name, rule) => {
                prop_assert!(
                    refers(rule)
                        .0
                        .iter()
                        .all(|set| held.sets.contains_key(*set))
                );
                prop_assert!(refers(rule).1.is_none_or(|verdict| exists(held, verdict)));
                Arc::make_mut(held.chains.get_mut(name).unwrap())
                    .rules
                    .push(rule.clone());
            }
            Op::FlushChain(name) => Arc::make_mut(held.chains.get_mut(name).unwrap())
                .rules
                .clear(),
            Op::DeleteSet(name) => {
                let rules = held.chains.values().flat_map(|chain| &chain.rules);
                prop_assert!(rules.flat_map(|rule| refers(rule).0).all(|set| set != name));
                prop_assert!(held.sets.remove(name).is_some());
            }
            Op::DeleteChain(name) => {
                prop_assert!(held.chains[name].rules.is_empty());
                let mut rules = held.chains.values().flat_map(|chain| &chain.rules);
                let elements = held
                    .sets
                    .values()
                    .flat_map(|set| set.elements.values().flatten());
                prop_assert!(
                    rules.all(|rule| refers(rule).1.is_none_or(|v| target(v) != Some(name)))
                );
                let mut elements = elements.map(target);
                prop_assert!(elements.all(|target| target != Some(name)));
                held.chains.remove(name);
            }
        }
    }
    Ok(())
}

fn target(verdict: &Verdict) -> Option<&Arc<str>> {
    match verdict {
        Verdict::Goto(chain) | Verdict::Jump(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    }
}

fn exists(held: &Ruleset, verdict: &Verdict) -> bool {
    target(verdict).is_none_or(|chain| held.chains.contains_key(chain))
}

/// The sets a rule looks into, and its verdict.
fn refers(rule: &Rule) -> (Vec<&Arc<str>>, Option<&Verdict>) {
    let mut sets: Vec<_> = rule
        .matches
        .iter()
        .filter_map(|condition| match condition {
            Match::InSet(_, set) => Some(set),
            _ => None,
        })
        .collect();
    match &rule.action {
        Action::LookUp(
            Field::Destination(_) | Field::DestinationEndpoint(_) | Field::Port | Field::Source(_),
            map,
        ) => {
            sets.push(map);
            (sets, None)
        }
        Action::Verdict(verdict) => (sets, Some(verdict)),
    }
}
