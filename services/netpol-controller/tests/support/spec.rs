//! What the NetworkPolicy API says, evaluated on the API objects themselves.
//!
//! Written from the text of `networking.k8s.io/v1` alone. It shares no code with the compiler and cares for
//! nothing but being obviously right.

use super::objects::Objects;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Somebody at one end of a connection.
pub struct End<'a> {
    pub ip: IpAddr,
    /// The pod, if it is one with a network of its own.
    pub pod: Option<&'a Pod>,
    /// Whether it runs on the node in question, whose table judges what it sends and receives.
    pub judged: bool,
}

/// "Traffic is allowed if the source may send it and the destination may receive it." `protocol` is a name;
/// anything but TCP, UDP and SCTP has no ports.
pub fn allowed(objects: &Objects, from: &End<'_>, to: &End<'_>, protocol: &str, port: u16) -> bool {
    egress(objects, from, to, protocol, port) && ingress(objects, from, to, protocol, port)
}

fn ingress(objects: &Objects, from: &End<'_>, to: &End<'_>, protocol: &str, port: u16) -> bool {
    let Some(pod) = to.pod.filter(|_| to.judged) else {
        return true;
    };
    let isolating = objects
        .policies
        .iter()
        .filter(|p| selects(p, pod) && has_type(p, "Ingress"));
    let isolating: Vec<_> = isolating.collect();
    isolating.is_empty()
        || isolating.iter().any(|policy| {
            let rules = policy
                .spec
                .as_ref()
                .unwrap()
                .ingress
                .clone()
                .unwrap_or_default();
            rules.iter().any(|rule| {
                peers_match(objects, policy, rule.from.as_deref(), from)
                    && ports_match(rule.ports.as_deref(), to, protocol, port)
            })
        })
}

fn egress(objects: &Objects, from: &End<'_>, to: &End<'_>, protocol: &str, port: u16) -> bool {
    let Some(pod) = from.pod.filter(|_| from.judged) else {
        return true;
    };
    let isolating = objects
        .policies
        .iter()
        .filter(|p| selects(p, pod) && has_type(p, "Egress"));
    let isolating: Vec<_> = isolating.collect();
    isolating.is_empty()
        || isolating.iter().any(|policy| {
            let rules = policy
                .spec
                .as_ref()
                .unwrap()
                .egress
                .clone()
                .unwrap_or_default();
            rules.iter().any(|rule| {
                peers_match(objects, policy, rule.to.as_deref(), to)
                    && ports_match(rule.ports.as_deref(), to, protocol, port)
            })
        })
}

/// "Selects the pods to which this NetworkPolicy object applies", in its own namespace.
fn selects(policy: &NetworkPolicy, pod: &Pod) -> bool {
    let selector = policy
        .spec
        .as_ref()
        .unwrap()
        .pod_selector
        .clone()
        .unwrap_or_default();
    policy.metadata.namespace == pod.metadata.namespace
        && labels_match(&selector, pod.metadata.labels.as_ref())
}

/// "If this field is not specified, it will default based on the existence of ingress or egress rules; policies
/// that contain an egress section are assumed to affect egress, and all policies are assumed to affect ingress."
fn has_type(policy: &NetworkPolicy, name: &str) -> bool {
    let spec = policy.spec.as_ref().unwrap();
    let types = spec.policy_types.clone().unwrap_or_default();
    if types.is_empty() {
        return name == "Ingress" || !spec.egress.clone().unwrap_or_default().is_empty();
    }
    types.iter().any(|one| one == name)
}

/// "If this field is empty or missing, this rule matches all sources."
fn peers_match(
    objects: &Objects,
    policy: &NetworkPolicy,
    peers: Option<&[NetworkPolicyPeer]>,
    end: &End<'_>,
) -> bool {
    let peers = peers.unwrap_or_default();
    peers.is_empty()
        || peers
            .iter()
            .any(|peer| peer_matches(objects, policy, peer, end))
}

fn peer_matches(
    objects: &Objects,
    policy: &NetworkPolicy,
    peer: &NetworkPolicyPeer,
    end: &End<'_>,
) -> bool {
    if let Some(block) = &peer.ip_block {
        return block_contains(block, end.ip);
    }
    let Some(pod) = end.pod else { return false };
    let in_namespace = match &peer.namespace_selector {
        None => pod.metadata.namespace == policy.metadata.namespace,
        Some(selector) => objects
            .namespaces
            .iter()
            .filter(|namespace: &&Namespace| namespace.metadata.name == pod.metadata.namespace)
            .any(|namespace| labels_match(selector, namespace.metadata.labels.as_ref())),
    };
    let by_labels = match &peer.pod_selector {
        None => peer.namespace_selector.is_some(),
        Some(selector) => labels_match(selector, pod.metadata.labels.as_ref()),
    };
    in_namespace && by_labels
}

fn block_contains(block: &IPBlock, ip: IpAddr) -> bool {
    let excepted = block.except.clone().unwrap_or_default();
    cidr_contains(&block.cidr, ip) && !excepted.iter().any(|except| cidr_contains(except, ip))
}

/// Bit by bit.
fn cidr_contains(cidr: &str, ip: IpAddr) -> bool {
    let (base, length) = cidr.split_once('/').unwrap();
    let bits = |ip: IpAddr| -> Vec<bool> {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
            .collect()
    };
    let (base, ip) = (bits(base.parse().unwrap()), bits(ip));
    let length: usize = length.parse().unwrap();
    base.len() == ip.len() && base[..length] == ip[..length]
}

/// "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)."
fn ports_match(
    ports: Option<&[NetworkPolicyPort]>,
    receiver: &End<'_>,
    protocol: &str,
    port: u16,
) -> bool {
    let ports = ports.unwrap_or_default();
    ports.is_empty()
        || ports
            .iter()
            .any(|one| port_matches(one, receiver, protocol, port))
}

fn port_matches(one: &NetworkPolicyPort, receiver: &End<'_>, protocol: &str, port: u16) -> bool {
    if one.protocol.as_deref().unwrap_or("TCP") != protocol {
        return false;
    }
    match (&one.port, one.end_port) {
        (None, _) => true,
        (Some(IntOrString::Int(number)), None) => i32::from(port) == *number,
        (Some(IntOrString::Int(number)), Some(end)) => {
            *number <= i32::from(port) && i32::from(port) <= end
        }
        (Some(IntOrString::String(name)), _) => {
            let Some(pod) = receiver.pod else {
                return false;
            };
            let containers = &pod.spec.as_ref().unwrap().containers;
            let mut all = containers
                .iter()
                .flat_map(|c| c.ports.clone().unwrap_or_default());
            let found = all.find(|candidate| {
                candidate.name.as_ref() == Some(name)
                    && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.is_some_and(|found| found.container_port == i32::from(port))
        }
    }
}

/// "The result of matchLabels and matchExpressions are ANDed. An empty label selector matches all objects."
fn labels_match(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    let labels = labels.unwrap_or(&none);
    let equal = selector.match_labels.clone().unwrap_or_default();
    let expressions = selector.match_expressions.clone().unwrap_or_default();
    equal
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.iter().all(|expression| {
            let value = labels.get(&expression.key);
            let values = expression.values.clone().unwrap_or_default();
            match expression.operator.as_str() {
                "In" => value.is_some_and(|value| values.contains(value)),
                "NotIn" => value.is_none_or(|value| !values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
