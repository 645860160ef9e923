//! The incremental compiler: one change of the cluster in, the smallest change of the ruleset out.
//!
//! A pod that comes or goes changes elements of the atoms that mean it. A policy that comes or goes recompiles the
//! programs of the local pods it selects. Whatever the order of changes, the ruleset is the one that a fresh
//! engine makes of the same objects.

use super::atom::{Atom, Facts};
use super::cluster::Cluster;
use super::frame::{self, Established};
use super::grant::grants;
use super::model::{Direction, Key, NamedPort, Namespace, Pod, Policy, PortMatch};
use super::name::Name;
use super::program::Program;
use super::ruleset::{Element, Family, Ruleset, Set, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// A change of the cluster.
#[derive(Clone, Debug)]
pub enum Change {
    /// A namespace is like this now, or is gone.
    Namespace(Arc<str>, Option<Namespace>),
    /// A pod is like this now, or is gone.
    Pod(Key, Option<Box<Pod>>),
    /// A policy is like this now, or is gone.
    Policy(Key, Option<Box<Policy>>),
}

/// Compiles the cluster as it changes.
#[derive(Debug)]
pub struct Engine {
    cluster: Cluster,
    established: Established,
    /// What the atoms were filled with.
    facts: BTreeMap<Key, Facts>,
    /// Local pods.
    subjects: BTreeMap<Key, Subject>,
    programs: HashMap<ProgramKey, Arc<Program>>,
    atoms: BTreeMap<Name, AtomSets>,
    ruleset: Ruleset,
    /// Local pods whose programs must be looked at again.
    dirty: BTreeSet<Key>,
    /// Atoms whose elements changed.
    touched: BTreeSet<Name>,
}

/// A local pod.
#[derive(Debug, Default)]
struct Subject {
    /// The policies that select it.
    policies: BTreeSet<Key>,
    egress: Option<Arc<Program>>,
    ingress: Option<Arc<Program>>,
}

/// What a program is made from: versions of policies, and the pod's ports where they matter.
type ProgramKey = (Direction, Vec<u64>, Vec<NamedPort>);

#[derive(Debug)]
struct AtomSets {
    atom: Arc<Atom>,
    v4: Arc<Set>,
    v6: Arc<Set>,
}

impl Engine {
    /// An engine for the pods of `node`, with nothing known of the cluster.
    pub fn new(node: &str, established: Established) -> Self {
        let mut engine = Self {
            cluster: Cluster::new(node),
            established,
            facts: BTreeMap::new(),
            subjects: BTreeMap::new(),
            programs: HashMap::new(),
            atoms: BTreeMap::new(),
            ruleset: Ruleset::default(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        engine.assemble();
        engine
    }

    /// What is known of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The program that judges a local pod's traffic in one direction; `None` where no policy restricts it.
    pub fn program(&self, pod: &Key, direction: Direction) -> Option<&Arc<Program>> {
        let subject = self.subjects.get(pod)?;
        match direction {
            Direction::Egress => subject.egress.as_ref(),
            Direction::Ingress => subject.ingress.as_ref(),
        }
    }

    /// The policies that select a local pod.
    pub fn policies(&self, pod: &Key) -> impl Iterator<Item = &Key> {
        self.subjects
            .get(pod)
            .into_iter()
            .flat_map(|subject| &subject.policies)
    }

    /// What is known of a pod that has an address of its own.
    pub fn facts(&self, pod: &Key) -> Option<&Facts> {
        self.facts.get(pod)
    }

    /// Number of local pods.
    pub fn local_pods(&self) -> usize {
        self.subjects.len()
    }

    /// Takes a change in. [`Self::ruleset`] shows its effect.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace(name, namespace) => {
                self.cluster.set_namespace(name.clone(), namespace);
                for key in self.cluster.pods_of(&name) {
                    self.refresh(&key);
                }
            }
            Change::Pod(key, pod) => {
                for key in self.cluster.set_pod(key, pod.map(|pod| *pod)) {
                    self.refresh(&key);
                }
            }
            Change::Policy(key, policy) => self.set_policy(key, policy.map(|policy| *policy)),
        }
    }

    /// Notes the addresses of a pod of this node before the API knows them. `false` if no such pod is known.
    pub fn announce(&mut self, key: &Key, uid: &str, addresses: Vec<IpAddr>) -> bool {
        let Some(affected) = self.cluster.announce(key, uid, addresses) else {
            return false;
        };
        for key in affected {
            self.refresh(&key);
        }
        true
    }

    /// The ruleset for the cluster as it is now.
    pub fn ruleset(&mut self) -> &Ruleset {
        if self.dirty.is_empty() {
            for name in std::mem::take(&mut self.touched) {
                if let Some(sets) = self.atoms.get(&name) {
                    sets.put_into(&mut self.ruleset);
                }
            }
        } else {
            for key in std::mem::take(&mut self.dirty) {
                self.judge(&key);
            }
            self.touched.clear();
            self.assemble();
        }
        &self.ruleset
    }

    fn set_policy(&mut self, key: Key, policy: Option<Policy>) {
        let before = self.cluster.set_policy(key.clone(), policy);
        let now = self.cluster.policy(&key).map(|(_, policy)| policy.clone());
        for (pod, subject) in &mut self.subjects {
            if pod.namespace != key.namespace {
                continue;
            }
            let Some(facts) = self.facts.get(pod) else {
                continue;
            };
            let selects = |policy: &Option<Arc<Policy>>| {
                policy
                    .as_ref()
                    .is_some_and(|policy| policy.subjects.matches(&facts.labels))
            };
            let selected = selects(&now);
            if selected || selects(&before) {
                self.dirty.insert(pod.clone());
            }
            if selected {
                subject.policies.insert(key.clone());
            } else {
                subject.policies.remove(&key);
            }
        }
    }

    /// Brings atoms and subjects in line with what a pod is now.
    fn refresh(&mut self, key: &Key) {
        let before = self.facts.remove(key);
        let now = self.cluster.facts(key);
        if before != now {
            for (name, sets) in &mut self.atoms {
                if sets.replace(before.as_ref(), now.as_ref()) {
                    self.touched.insert(name.clone());
                }
            }
            if before.as_ref().is_some_and(|facts| facts.local) {
                self.subjects.remove(key);
                self.dirty.insert(key.clone());
            }
            if let Some(facts) = now.as_ref().filter(|facts| facts.local) {
                let policies = self.cluster.policies_of(&key.namespace);
                let selected =
                    policies.filter(|(_, policy)| policy.subjects.matches(&facts.labels));
                let policies = selected.map(|(_, policy)| policy.key.clone()).collect();
                self.subjects.insert(
                    key.clone(),
                    Subject {
                        policies,
                        ..Subject::default()
                    },
                );
                self.dirty.insert(key.clone());
            }
        }
        if let Some(now) = now {
            self.facts.insert(key.clone(), now);
        }
    }

    /// Finds the programs of a local pod anew.
    fn judge(&mut self, key: &Key) {
        let Some(mut subject) = self.subjects.remove(key) else {
            return;
        };
        let named = self
            .facts
            .get(key)
            .map(|facts| facts.named_ports.clone())
            .unwrap_or_default();
        subject.egress = self.program_for(Direction::Egress, &subject.policies, &named);
        subject.ingress = self.program_for(Direction::Ingress, &subject.policies, &named);
        self.subjects.insert(key.clone(), subject);
    }

    fn program_for(
        &mut self,
        direction: Direction,
        selected: &BTreeSet<Key>,
        named: &[NamedPort],
    ) -> Option<Arc<Program>> {
        let policies: Vec<_> = selected
            .iter()
            .filter_map(|key| self.cluster.policy(key))
            .filter(|(_, policy)| policy.rules(direction).is_some())
            .collect();
        if policies.is_empty() {
            return None;
        }
        let used = |port: &&NamedPort| {
            direction == Direction::Ingress
                && policies.iter().any(|(_, p)| names(p, direction, port))
        };
        let named: Vec<_> = named.iter().filter(used).cloned().collect();
        let key = (
            direction,
            policies.iter().map(|(version, _)| *version).collect(),
            named,
        );
        if let Some(program) = self.programs.get(&key) {
            return Some(program.clone());
        }
        let allowed = policies
            .iter()
            .flat_map(|(_, policy)| grants(policy, direction, &key.2));
        let policies_of = policies
            .iter()
            .map(|(_, policy)| policy.key.clone())
            .collect();
        let program = Arc::new(Program::compile(direction, policies_of, allowed.collect()));
        self.programs.insert(key, program.clone());
        Some(program)
    }

    /// Puts the ruleset together from the programs in use, and forgets what is used no more.
    fn assemble(&mut self) {
        // A program is in use when a subject holds it beside the cache.
        self.programs
            .retain(|_, program| Arc::strong_count(program) > 1);
        let mut ruleset = Ruleset::default();
        ruleset.chains.extend(frame::chains(self.established));
        let mut atoms = BTreeMap::new();
        for program in self.programs.values() {
            ruleset
                .chains
                .extend(program.chains.iter().map(|(n, c)| (n.clone(), c.clone())));
            ruleset
                .sets
                .extend(program.sets.iter().map(|(n, s)| (n.clone(), s.clone())));
            atoms.extend(program.atoms.iter().map(|(n, a)| (n.clone(), a.clone())));
        }
        let mut old = std::mem::take(&mut self.atoms);
        for (name, atom) in atoms {
            let sets = old
                .remove(&name)
                .unwrap_or_else(|| AtomSets::fill(atom, self.facts.values()));
            sets.put_into(&mut ruleset);
            self.atoms.insert(name, sets);
        }
        for (name, set) in self.switches() {
            // An unchanged switch stays the same allocation, so that comparing it costs nothing.
            let same = self
                .ruleset
                .sets
                .get(&name)
                .filter(|known| ***known == set)
                .cloned();
            ruleset
                .sets
                .insert(name, same.unwrap_or_else(|| Arc::new(set)));
        }
        self.ruleset = ruleset;
    }

    fn switches(&self) -> BTreeMap<Name, Set> {
        let mut switches: BTreeMap<_, _> = frame::switches().collect();
        let mut put = |name: Name, address: IpAddr, verdict| {
            if let Some(set) = switches.get_mut(&name) {
                set.elements.insert(Element::Address(address), verdict);
            }
        };
        for (key, subject) in &self.subjects {
            for address in self
                .facts
                .get(key)
                .into_iter()
                .flat_map(|facts| &facts.addresses)
            {
                let family = Family::of(*address);
                let jump = |program: &Arc<Program>| Some(Verdict::Jump(program.chain.clone()));
                if let Some(program) = &subject.egress {
                    put(frame::egress(family), *address, jump(program));
                }
                if let Some(program) = &subject.ingress {
                    put(frame::ingress(family), *address, jump(program));
                }
                if subject.egress.is_some() || subject.ingress.is_some() {
                    put(frame::isolated(family), *address, None);
                }
            }
        }
        switches
    }
}

/// Whether a policy mentions a named port.
fn names(policy: &Policy, direction: Direction, port: &NamedPort) -> bool {
    let rules = policy.rules(direction).unwrap_or_default();
    rules
        .iter()
        .flat_map(|rule| rule.ports.iter().flatten())
        .any(|wanted| {
            matches!(wanted, PortMatch::Name { protocol, name }
            if *protocol == port.protocol && *name == port.name)
        })
}

impl AtomSets {
    fn fill<'a>(atom: Arc<Atom>, pods: impl Iterator<Item = &'a Facts>) -> Self {
        let mut sets = [atom.empty_set(Family::V4), atom.empty_set(Family::V6)];
        for (family, element) in pods.flat_map(|pod| atom.elements(pod)) {
            sets[family as usize].elements.insert(element, None);
        }
        let [v4, v6] = sets.map(Arc::new);
        Self { atom, v4, v6 }
    }

    /// Exchanges what a pod added for what it adds now; `true` if that differs.
    fn replace(&mut self, before: Option<&Facts>, now: Option<&Facts>) -> bool {
        let before = before
            .map(|pod| self.atom.elements(pod))
            .unwrap_or_default();
        let now = now.map(|pod| self.atom.elements(pod)).unwrap_or_default();
        for (family, element) in before.difference(&now) {
            Arc::make_mut(self.set(*family)).elements.remove(element);
        }
        for (family, element) in now.difference(&before) {
            Arc::make_mut(self.set(*family))
                .elements
                .insert(*element, None);
        }
        before != now
    }

    fn set(&mut self, family: Family) -> &mut Arc<Set> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn put_into(&self, ruleset: &mut Ruleset) {
        ruleset.sets.insert(self.atom.v4.clone(), self.v4.clone());
        ruleset.sets.insert(self.atom.v6.clone(), self.v6.clone());
    }
}
