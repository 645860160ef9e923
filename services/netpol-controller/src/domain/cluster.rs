//! The objects of the cluster, and which pod an address belongs to.
//!
//! The API may show two pods with one address: one that ended without a word, and the one that got its address
//! next. An address has one owner: the pod announced last on this node, else a living one before one that is
//! being deleted, else the youngest.

use super::atom::Facts;
use super::model::{Key, Namespace, Pod, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Everything known of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    node: String,
    pods: BTreeMap<Key, Pod>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Policies, each with a number that no other version of any policy has.
    policies: BTreeMap<Key, (u64, Arc<Policy>)>,
    versions: u64,
    announced: BTreeMap<Key, Announcement>,
    announcements: u64,
    claims: BTreeMap<IpAddr, BTreeSet<Claim>>,
    claimed: BTreeMap<Key, Vec<(IpAddr, Claim)>>,
}

#[derive(Debug)]
struct Announcement {
    number: u64,
    uid: String,
    addresses: Vec<IpAddr>,
}

/// A pod's claim to an address; the greatest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    announced: u64,
    living: bool,
    created: i64,
    pod: Key,
}

impl Pod {
    /// Whether kubelet means this pod by `uid`.
    pub fn is(&self, uid: &str) -> bool {
        self.uid == uid || self.static_uid.as_deref() == Some(uid)
    }
}

impl Cluster {
    /// An empty cluster as seen from `node`.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            ..Self::default()
        }
    }

    /// The pods, by key.
    pub fn pods(&self) -> &BTreeMap<Key, Pod> {
        &self.pods
    }

    /// Number of policies.
    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// The policies of a namespace, each with the number of its version.
    pub fn policies_of<'a>(
        &'a self,
        namespace: &'a Arc<str>,
    ) -> impl Iterator<Item = (u64, &'a Arc<Policy>)> {
        of_namespace(&self.policies, namespace).map(|(_, (version, policy))| (*version, policy))
    }

    /// A policy and the number of its version.
    pub fn policy(&self, key: &Key) -> Option<(u64, &Arc<Policy>)> {
        self.policies
            .get(key)
            .map(|(version, policy)| (*version, policy))
    }

    /// The keys of all policies.
    pub fn policy_keys(&self) -> impl Iterator<Item = &Key> {
        self.policies.keys()
    }

    /// The names of all namespaces.
    pub fn namespace_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.namespaces.keys()
    }

    /// The keys of the pods of a namespace.
    pub fn pods_of(&self, namespace: &Arc<str>) -> Vec<Key> {
        of_namespace(&self.pods, namespace)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Adds or replaces a policy, or takes it away. Gives what was there before.
    pub fn set_policy(&mut self, key: Key, policy: Option<Policy>) -> Option<Arc<Policy>> {
        let before = match policy {
            Some(policy) => {
                self.versions += 1;
                self.policies.insert(key, (self.versions, Arc::new(policy)))
            }
            None => self.policies.remove(&key),
        };
        before.map(|(_, policy)| policy)
    }

    /// Adds or replaces a namespace, or takes it away.
    pub fn set_namespace(&mut self, name: Arc<str>, namespace: Option<Namespace>) {
        match namespace {
            Some(namespace) => self.namespaces.insert(name, namespace),
            None => self.namespaces.remove(&name),
        };
    }

    /// Adds or replaces a pod, or takes it away. Gives all pods whose facts may be others now.
    pub fn set_pod(&mut self, key: Key, pod: Option<Pod>) -> BTreeSet<Key> {
        match pod {
            Some(pod) => {
                if self
                    .announced
                    .get(&key)
                    .is_some_and(|known| !pod.is(&known.uid))
                {
                    self.announced.remove(&key);
                }
                self.pods.insert(key.clone(), pod);
            }
            None => {
                self.announced.remove(&key);
                self.pods.remove(&key);
            }
        }
        self.reclaim(key)
    }

    /// Notes the addresses a pod was given on this node, before the API knows them. Gives all pods whose facts may
    /// be others now; `None` if no such pod is known.
    pub fn announce(
        &mut self,
        key: &Key,
        uid: &str,
        addresses: Vec<IpAddr>,
    ) -> Option<BTreeSet<Key>> {
        self.pods.get(key).filter(|pod| pod.is(uid))?;
        self.announcements += 1;
        let announcement = Announcement {
            number: self.announcements,
            uid: uid.to_owned(),
            addresses,
        };
        self.announced.insert(key.clone(), announcement);
        Some(self.reclaim(key.clone()))
    }

    /// Takes back the old claims of a pod and makes the new ones.
    fn reclaim(&mut self, key: Key) -> BTreeSet<Key> {
        let claims = self
            .pods
            .get(&key)
            .map(|pod| self.claims_of(pod))
            .unwrap_or_default();
        let mut affected = BTreeSet::from([key.clone()]);
        for (address, claim) in self.claimed.remove(&key).unwrap_or_default() {
            if let Some(rivals) = self.claims.get_mut(&address) {
                rivals.remove(&claim);
                affected.extend(rivals.last().map(|claim| claim.pod.clone()));
                if rivals.is_empty() {
                    self.claims.remove(&address);
                }
            }
        }
        for (address, claim) in &claims {
            let rivals = self.claims.entry(*address).or_default();
            affected.extend(rivals.last().map(|claim| claim.pod.clone()));
            rivals.insert(claim.clone());
        }
        if !claims.is_empty() {
            self.claimed.insert(key, claims);
        }
        affected
    }

    fn claims_of(&self, pod: &Pod) -> Vec<(IpAddr, Claim)> {
        if pod.host_network || pod.finished {
            return Vec::new();
        }
        let announced = self.announced.get(&pod.key);
        let mut addresses = pod.addresses.clone();
        if addresses.is_empty() {
            addresses.extend(announced.iter().flat_map(|known| &known.addresses));
        }
        addresses.sort_unstable();
        addresses.dedup();
        let claim = Claim {
            announced: announced.map_or(0, |known| known.number),
            living: !pod.terminating,
            created: pod.created,
            pod: pod.key.clone(),
        };
        addresses
            .into_iter()
            .map(|address| (address, claim.clone()))
            .collect()
    }

    /// The pod that an address belongs to.
    pub fn owner(&self, address: IpAddr) -> Option<&Pod> {
        self.pods.get(&self.claims.get(&address)?.last()?.pod)
    }

    /// What policy sees of a pod; `None` if it has no address of its own.
    pub fn facts(&self, key: &Key) -> Option<Facts> {
        let pod = self.pods.get(key)?;
        let owned = self.claimed.get(key)?.iter().filter(|(address, claim)| {
            self.claims
                .get(address)
                .is_some_and(|rivals| rivals.last() == Some(claim))
        });
        let addresses: Vec<_> = owned.map(|(address, _)| *address).collect();
        if addresses.is_empty() {
            return None;
        }
        Some(Facts {
            namespace: key.namespace.clone(),
            namespace_labels: self
                .namespaces
                .get(&key.namespace)
                .map(|ns| ns.labels.clone()),
            labels: pod.labels.clone(),
            addresses,
            named_ports: pod.named_ports.clone(),
            local: pod.node == self.node,
        })
    }
}

fn of_namespace<'a, V>(
    map: &'a BTreeMap<Key, V>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = (&'a Key, &'a V)> {
    map.range(
        Key {
            namespace: namespace.clone(),
            name: "".into(),
        }..,
    )
    .take_while(move |(key, _)| key.namespace == *namespace)
}
