//! Atoms: the sets whose elements follow the pods of the cluster.
//!
//! An atom is named after the selectors it stands for, so that all policies which mean the same pods share it, and
//! a pod that comes or goes changes one element of it and no rule.

use super::grant::{Grant, GrantPeer, GrantPorts};
use super::model::{Labels, NamedPort, NamespaceScope, PodSelector, Protocol};
use super::name::{Name, name_of};
use super::ruleset::{Element, Family, Set, SetKind};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What policy sees of one pod now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Labels of the namespace; `None` while the namespace isn't known.
    pub namespace_labels: Option<Arc<Labels>>,
    /// Labels of the pod.
    pub labels: Arc<Labels>,
    /// Addresses that are the pod's and nobody else's.
    pub addresses: Vec<IpAddr>,
    /// Named ports.
    pub named_ports: Arc<[NamedPort]>,
    /// Whether it runs on our node, so that its traffic is ours to judge.
    pub local: bool,
}

impl PodSelector {
    /// Whether it selects the pod.
    pub fn selects(&self, pod: &Facts) -> bool {
        let namespace = match &self.namespaces {
            NamespaceScope::Own(namespace) => *namespace == pod.namespace,
            NamespaceScope::Selected(selector) => pod
                .namespace_labels
                .as_ref()
                .is_some_and(|labels| selector.matches(labels)),
        };
        namespace && self.pods.matches(&pod.labels)
    }
}

/// A set that follows pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    content: Content,
    /// Its IPv4 set.
    pub v4: Name,
    /// Its IPv6 set.
    pub v6: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    /// Addresses of the pods that any of these select.
    Addresses(BTreeSet<PodSelector>),
    /// Ports, by name, of the pods that these allow.
    Endpoints(BTreeSet<(GrantPeer, Protocol, String)>),
}

impl Atom {
    /// The addresses of the pods that any of `selectors` selects.
    pub fn addresses(selectors: BTreeSet<PodSelector>) -> Self {
        Self::named("pods", Content::Addresses(selectors))
    }

    /// The named ports that grants allow at their peers; `None` if none does.
    pub fn endpoints(grants: &[Grant]) -> Option<Self> {
        let named: BTreeSet<_> = grants
            .iter()
            .filter_map(|grant| match &grant.ports {
                GrantPorts::Named { protocol, name } => {
                    Some((grant.peer.clone(), *protocol, name.clone()))
                }
                _ => None,
            })
            .collect();
        (!named.is_empty()).then(|| Self::named("ends", Content::Endpoints(named)))
    }

    fn named(prefix: &str, content: Content) -> Self {
        let hash = name_of("", &content);
        let name = |family: Family| format!("{prefix}{}-{hash}", family.digit()).into();
        Self {
            v4: name(Family::V4),
            v6: name(Family::V6),
            content,
        }
    }

    /// The name of its set of one family.
    pub fn name(&self, family: Family) -> &Name {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The set of one family without elements.
    pub fn empty_set(&self, family: Family) -> Set {
        let kind = match self.content {
            Content::Addresses(_) => SetKind::Addresses(family),
            Content::Endpoints(_) => SetKind::Endpoints(family),
        };
        Set {
            kind,
            ..Set::addresses(family)
        }
    }

    /// What a pod adds to it. Pods never share an element, since no two have the same address.
    pub fn elements(&self, pod: &Facts) -> BTreeSet<(Family, Element)> {
        let addresses = pod.addresses.iter().copied();
        match &self.content {
            Content::Addresses(selectors) => {
                if !selectors.iter().any(|selector| selector.selects(pod)) {
                    return BTreeSet::new();
                }
                addresses
                    .map(|ip| (Family::of(ip), Element::Address(ip)))
                    .collect()
            }
            Content::Endpoints(named) => addresses
                .flat_map(|ip| {
                    named
                        .iter()
                        .filter_map(move |entry| endpoint(ip, entry, pod))
                })
                .collect(),
        }
    }
}

fn endpoint(
    ip: IpAddr,
    (peer, protocol, name): &(GrantPeer, Protocol, String),
    pod: &Facts,
) -> Option<(Family, Element)> {
    let port = pod
        .named_ports
        .iter()
        .find(|p| p.protocol == *protocol && p.name == *name)?;
    let allowed = match peer {
        GrantPeer::Anyone => true,
        GrantPeer::Block(ranges) => ranges.contains(ip),
        GrantPeer::Pods(selector) => selector.selects(pod),
    };
    allowed.then(|| (Family::of(ip), Element::Endpoint(ip, *protocol, port.port)))
}
