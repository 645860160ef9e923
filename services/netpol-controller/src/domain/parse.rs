//! From API objects to the model.
//!
//! What the API server would have refused (an unknown operator, a CIDR that is none, an `endPort` below its
//! `port`) selects nothing: a policy never allows more than it says.

use super::model::{
    Direction, Key, NamedPort, Namespace, NamespaceScope, Peer, Pod, PodSelector, Policy,
    PortMatch, Protocol, Rule,
};
use super::ranges::Ranges;
use super::selector::Selector;
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;
use std::sync::Arc;

/// Annotation that names the UID by which kubelet knows a static pod.
const STATIC_POD_UID: &str = "kubernetes.io/config.hash";

/// A pod. `None` for an object without a name, which the API never sends.
pub fn pod(object: &core::Pod) -> Option<Pod> {
    let meta = &object.metadata;
    let spec = object.spec.as_ref()?;
    let status = object.status.as_ref();
    let listed = status.and_then(|status| status.pod_ips.as_ref());
    let mut addresses: Vec<_> = listed
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.ip.parse().ok())
        .collect();
    if addresses.is_empty() {
        addresses.extend(status.and_then(|s| s.pod_ip.as_deref()?.parse::<IpAddr>().ok()));
    }
    let phase = status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default();
    let annotations = meta.annotations.as_ref();
    Some(Pod {
        key: Key::new(meta.namespace.as_deref()?, meta.name.as_deref()?),
        uid: meta.uid.clone().unwrap_or_default(),
        static_uid: annotations.and_then(|a| a.get(STATIC_POD_UID).cloned()),
        node: spec.node_name.clone().unwrap_or_default(),
        labels: Arc::new(meta.labels.clone().unwrap_or_default()),
        addresses,
        host_network: spec.host_network.unwrap_or(false),
        finished: matches!(phase, "Succeeded" | "Failed"),
        terminating: meta.deletion_timestamp.is_some(),
        created: meta
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        named_ports: named_ports(spec),
    })
}

/// Containers and restartable init containers; of two ports with one name the first wins, as for probes.
fn named_ports(spec: &core::PodSpec) -> Arc<[NamedPort]> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    let mut named: Vec<NamedPort> = Vec::new();
    for port in ports {
        let (Some(name), Ok(number)) = (&port.name, u16::try_from(port.container_port)) else {
            continue;
        };
        let Ok(protocol) = port
            .protocol
            .as_deref()
            .unwrap_or("TCP")
            .parse::<Protocol>()
        else {
            continue;
        };
        if !named
            .iter()
            .any(|known| known.name == *name && known.protocol == protocol)
        {
            named.push(NamedPort {
                name: name.clone(),
                protocol,
                port: number,
            });
        }
    }
    named.into()
}

/// A namespace.
pub fn namespace(object: &core::Namespace) -> Option<Namespace> {
    Some(Namespace {
        name: object.metadata.name.as_deref()?.into(),
        labels: Arc::new(object.metadata.labels.clone().unwrap_or_default()),
    })
}

/// A policy.
pub fn policy(object: &api::NetworkPolicy) -> Option<Policy> {
    let meta = &object.metadata;
    let key = Key::new(meta.namespace.as_deref()?, meta.name.as_deref()?);
    let spec = object.spec.as_ref()?;
    let ingress = spec
        .ingress
        .iter()
        .flatten()
        .map(|rule| self::rule(&key, rule.from.as_deref(), rule.ports.as_deref()));
    let egress = spec
        .egress
        .iter()
        .flatten()
        .map(|rule| self::rule(&key, rule.to.as_deref(), rule.ports.as_deref()));
    Some(Policy {
        subjects: spec
            .pod_selector
            .as_ref()
            .map(Selector::parse)
            .unwrap_or_default(),
        ingress: restricts(spec, Direction::Ingress).then(|| ingress.collect()),
        egress: restricts(spec, Direction::Egress).then(|| egress.collect()),
        key,
    })
}

/// `policyTypes`, or its default: ingress always, egress where there is a rule for it.
fn restricts(spec: &api::NetworkPolicySpec, direction: Direction) -> bool {
    match (spec.policy_types.as_deref().unwrap_or_default(), direction) {
        ([], Direction::Ingress) => true,
        ([], Direction::Egress) => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        (types, Direction::Ingress) => types.iter().any(|name| name == "Ingress"),
        (types, Direction::Egress) => types.iter().any(|name| name == "Egress"),
    }
}

fn rule(
    policy: &Key,
    peers: Option<&[api::NetworkPolicyPeer]>,
    ports: Option<&[api::NetworkPolicyPort]>,
) -> Rule {
    Rule {
        peers: peers.filter(|peers| !peers.is_empty()).map(|peers| {
            peers
                .iter()
                .filter_map(|peer| self::peer(policy, peer))
                .collect()
        }),
        ports: ports
            .filter(|ports| !ports.is_empty())
            .map(|ports| ports.iter().filter_map(port).collect()),
    }
}

fn peer(policy: &Key, peer: &api::NetworkPolicyPeer) -> Option<Peer> {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => self::block(block).map(Peer::Block),
        (None, Some(namespaces), pods) => Some(pods_in(
            NamespaceScope::Selected(Selector::parse(namespaces)),
            pods.as_ref(),
        )),
        (None, None, Some(pods)) => Some(pods_in(
            NamespaceScope::Own(policy.namespace.clone()),
            Some(pods),
        )),
        _ => None,
    }
}

fn pods_in(namespaces: NamespaceScope, pods: Option<&LabelSelector>) -> Peer {
    let pods = pods.map(Selector::parse).unwrap_or_default();
    Peer::Pods(PodSelector { namespaces, pods })
}

fn block(block: &api::IPBlock) -> Option<Ranges> {
    let whole = Ranges::of(block.cidr.parse::<IpNet>().ok()?);
    // An exception that can't be read could be meant to exclude anything: allow nothing.
    block
        .except
        .iter()
        .flatten()
        .try_fold(whole, |left, except| {
            Some(left.subtract(&Ranges::of(except.parse::<IpNet>().ok()?)))
        })
}

fn port(port: &api::NetworkPolicyPort) -> Option<PortMatch> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").parse().ok()?;
    match (&port.port, port.end_port) {
        (None, None) => Some(PortMatch::Numbers {
            protocol,
            first: 0,
            last: u16::MAX,
        }),
        (Some(IntOrString::Int(first)), end) => {
            let first = u16::try_from(*first).ok()?;
            let last = end.map_or(Some(first), |end| u16::try_from(end).ok())?;
            (first <= last).then_some(PortMatch::Numbers {
                protocol,
                first,
                last,
            })
        }
        (Some(IntOrString::String(name)), None) => Some(PortMatch::Name {
            protocol,
            name: name.clone(),
        }),
        (None | Some(IntOrString::String(_)), Some(_)) => None,
    }
}
