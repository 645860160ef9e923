//! What the tunnel may dial from this node.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The kubelet's port.
pub const KUBELET_PORT: u16 = 10250;

/// What lies within reach of the tunnel.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The node's name, as its certificates carry it.
    pub node_name: String,
    /// The node's own addresses; the kubelet listens on the first.
    pub addresses: Vec<IpAddr>,
    /// The network of this node's pods, once it is known.
    pub pod_cidr: Option<IpNet>,
    /// The network of Services.
    pub service_cidr: Option<IpNet>,
}

/// Why a target isn't dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not `host:port`.
    #[error("`{0}` is no host:port")]
    Malformed(String),
    /// Loopback, another host, another port of this node.
    #[error("`{0}` is neither this node's kubelet, nor one of its pods, nor a Service address")]
    OutOfReach(String),
    /// The node doesn't know its own address yet.
    #[error("the node has no address yet")]
    NoAddress,
}

impl Reach {
    /// The address to dial for `target`, or why not.
    pub fn decide(&self, target: &str) -> Result<SocketAddr, Refusal> {
        let (host, port) = split(target).ok_or_else(|| Refusal::Malformed(target.to_owned()))?;
        let out_of_reach = || Refusal::OutOfReach(target.to_owned());
        let Ok(address) = host.parse::<IpAddr>() else {
            if port == KUBELET_PORT && host.eq_ignore_ascii_case(&self.node_name) {
                return self.kubelet();
            }
            return Err(out_of_reach());
        };
        let address = address.to_canonical();
        if self.addresses.contains(&address) {
            return if port == KUBELET_PORT {
                self.kubelet()
            } else {
                Err(out_of_reach())
            };
        }
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return Err(out_of_reach());
        }
        let pod = self
            .pod_cidr
            .is_some_and(|net| is_pod_address(&net, address));
        let service = self.service_cidr.is_some_and(|net| net.contains(&address));
        if pod || service {
            Ok(SocketAddr::new(address, port))
        } else {
            Err(out_of_reach())
        }
    }

    fn kubelet(&self) -> Result<SocketAddr, Refusal> {
        let address = self.addresses.first().ok_or(Refusal::NoAddress)?;
        Ok(SocketAddr::new(*address, KUBELET_PORT))
    }
}

/// The network's own address is the VXLAN device's and the one after it the pods' gateway: both are this node.
fn is_pod_address(net: &IpNet, address: IpAddr) -> bool {
    let gateway = net.hosts().next();
    net.contains(&address)
        && address != net.network()
        && address != net.broadcast()
        && Some(address) != gateway
}

fn split(target: &str) -> Option<(&str, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(host) => host,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> Reach {
        Reach {
            node_name: "node-1".into(),
            addresses: vec!["172.18.0.5".parse().unwrap()],
            pod_cidr: Some("10.244.1.0/24".parse().unwrap()),
            service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        }
    }

    #[test]
    fn dials_its_kubelet_its_pods_and_services() {
        for (target, dialled) in [
            ("node-1:10250", "172.18.0.5:10250"),
            ("NODE-1:10250", "172.18.0.5:10250"),
            ("172.18.0.5:10250", "172.18.0.5:10250"),
            ("[::ffff:172.18.0.5]:10250", "172.18.0.5:10250"),
            ("10.244.1.7:8080", "10.244.1.7:8080"),
            ("10.96.4.4:443", "10.96.4.4:443"),
        ] {
            assert_eq!(
                reach().decide(target),
                Ok(dialled.parse().unwrap()),
                "{target}"
            );
        }
    }

    #[test]
    fn dials_nothing_else() {
        for target in [
            "127.0.0.1:10250",
            "[::1]:10250",
            "[::ffff:127.0.0.1]:10250",
            "0.0.0.0:10250",
            "localhost:10250",
            "node-2:10250",
            "node-1:22",
            "172.18.0.5:22",
            "172.18.0.6:10250",
            "192.0.2.1:6443",
            "10.244.1.0:80",
            "10.244.1.1:10250",
            "10.244.1.255:80",
            "10.244.2.7:80",
            "1.1.1.1:443",
            "224.0.0.1:80",
        ] {
            assert_eq!(
                reach().decide(target),
                Err(Refusal::OutOfReach(target.into())),
                "{target}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_target() {
        for target in [
            "",
            "node-1",
            "node-1:",
            "node-1:0",
            "node-1:70000",
            ":80",
            "::1:80",
        ] {
            assert_eq!(
                reach().decide(target),
                Err(Refusal::Malformed(target.into())),
                "{target}"
            );
        }
    }

    #[test]
    fn without_an_address_there_is_no_kubelet() {
        let reach = Reach {
            addresses: vec![],
            ..reach()
        };
        assert_eq!(reach.decide("node-1:10250"), Err(Refusal::NoAddress));
    }
}
