//! Where a connection of kube-apiserver into the node network goes. Only what the cluster itself knows counts:
//! certified node names, podCIDRs given by kube-controller-manager, the service network. Anything else is refused;
//! nothing falls back to a direct dial.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The one port of a node that may be reached by its name.
pub const KUBELET_PORT: u16 = 10250;

/// What the supervisor knows of the node network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    /// Registered nodes and their pod networks.
    pub nodes: BTreeMap<String, Option<IpNet>>,
    /// Network of the Services.
    pub service_cidr: IpNet,
}

/// Who carries a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Any node: the target is a Service.
    AnyNode,
    /// This node.
    Node(String),
}

/// Why a connection has no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// Not `host:port`.
    #[error("{0:?} is not host:port")]
    Malformed(String),
    /// An address outside the cluster's networks.
    #[error("{0} is in no node's pod network and not in the service network")]
    Outside(IpAddr),
    /// A port other than the kubelet's.
    #[error(
        "port {1} of node {0:?} isn't reachable through the tunnel, only its kubelet ({KUBELET_PORT}) is"
    )]
    Port(String, u16),
    /// No such node.
    #[error("no node {0:?} has joined this cluster")]
    UnknownNode(String),
}

impl RoutingTable {
    /// The route for `target` (`host:port`, as in CONNECT).
    ///
    /// # Errors
    /// [`NoRoute`].
    pub fn route(&self, target: &str) -> Result<Route, NoRoute> {
        let (host, port) = split(target).ok_or_else(|| NoRoute::Malformed(target.to_owned()))?;
        let Ok(ip) = host.parse::<IpAddr>() else {
            return self.route_name(host, port);
        };
        if self.service_cidr.contains(&ip) {
            return Ok(Route::AnyNode);
        }
        self.nodes
            .iter()
            .find(|(_, cidr)| cidr.is_some_and(|cidr| cidr.contains(&ip)))
            .map(|(name, _)| Route::Node(name.clone()))
            .ok_or(NoRoute::Outside(ip))
    }

    fn route_name(&self, name: &str, port: u16) -> Result<Route, NoRoute> {
        if !self.nodes.contains_key(name) {
            return Err(NoRoute::UnknownNode(name.to_owned()));
        }
        if port != KUBELET_PORT {
            return Err(NoRoute::Port(name.to_owned(), port));
        }
        Ok(Route::Node(name.to_owned()))
    }
}

fn split(target: &str) -> Option<(&str, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .map_or(Some(host), |rest| rest.strip_suffix(']'))
        .filter(|host| !host.is_empty())?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RoutingTable {
        RoutingTable {
            nodes: [
                ("node-1".to_owned(), Some("10.244.0.0/24".parse().unwrap())),
                ("node-2".to_owned(), Some("10.244.1.0/24".parse().unwrap())),
                ("node-3".to_owned(), None),
                ("v6".to_owned(), Some("fd00:1::/64".parse().unwrap())),
            ]
            .into(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
        }
    }

    fn node(name: &str) -> Result<Route, NoRoute> {
        Ok(Route::Node(name.to_owned()))
    }

    #[test]
    fn kubelets_by_name() {
        assert_eq!(table().route("node-1:10250"), node("node-1"));
        assert_eq!(table().route("node-3:10250"), node("node-3"));
        assert_eq!(
            table().route("node-1:22"),
            Err(NoRoute::Port("node-1".into(), 22))
        );
        assert_eq!(
            table().route("node-9:10250"),
            Err(NoRoute::UnknownNode("node-9".into()))
        );
    }

    #[test]
    fn pods_by_pod_network() {
        assert_eq!(table().route("10.244.1.7:8080"), node("node-2"));
        assert_eq!(table().route("[fd00:1::5]:443"), node("v6"));
    }

    #[test]
    fn services_by_any_node() {
        assert_eq!(table().route("10.96.0.10:53"), Ok(Route::AnyNode));
    }

    #[test]
    fn everything_else_is_refused() {
        for (target, ip) in [
            ("10.244.2.1:80", "10.244.2.1"),
            ("127.0.0.1:10250", "127.0.0.1"),
            ("172.18.0.2:10250", "172.18.0.2"),
            ("[::1]:6443", "::1"),
            ("169.254.169.254:80", "169.254.169.254"),
        ] {
            assert_eq!(
                table().route(target),
                Err(NoRoute::Outside(ip.parse().unwrap()))
            );
        }
        for target in [
            "",
            "node-1",
            ":10250",
            "node-1:",
            "node-1:0",
            "node-1:99999",
            "[::1:80",
            "[]:80",
        ] {
            assert_eq!(
                table().route(target),
                Err(NoRoute::Malformed(target.into())),
                "{target}"
            );
        }
    }
}
