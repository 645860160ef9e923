//! Subject alternative names, and those by which the cluster's servers are known.

use super::policy::Policy;
use sextant_identity::ServiceName;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A SPIFFE id.
    Uri(String),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
        }
    }
}

/// 127.0.0.1
pub(super) const LOOPBACK_V4: San = San::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// The components with a serving certificate of their own.
pub(super) const COMPONENT_SERVERS: [ServiceName; 2] = [
    ServiceName::KubeControllerManager,
    ServiceName::KubeScheduler,
];

/// Every name of kube-apiserver.
pub(super) fn apiserver_sans(policy: &Policy) -> Vec<San> {
    let service = format!("kubernetes.default.svc.{}", policy.cluster_domain);
    let mut sans: Vec<San> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        service.as_str(),
        "kube-apiserver",
        "localhost",
    ]
    .map(dns)
    .into();
    sans.extend([LOOPBACK_V4, San::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST))]);
    sans.extend(policy.kubernetes_addresses().map(San::Ip));
    sans.push(San::Ip(policy.api_address));
    add_configured(&mut sans, &policy.apiserver_names);
    sans
}

/// Every name of datastore-proxy; etcd clients verify it by name.
pub(super) fn datastore_sans(policy: &Policy) -> Vec<San> {
    let mut sans = vec![dns("datastore-proxy"), dns("localhost"), LOOPBACK_V4];
    add_configured(&mut sans, &policy.datastore_names);
    sans
}

fn add_configured(sans: &mut Vec<San>, configured: &[San]) {
    for san in configured {
        if !sans.contains(san) {
            sans.push(san.clone());
        }
    }
}

/// A DNS name.
pub(super) fn dns(name: &str) -> San {
    San::Dns(name.to_owned())
}
