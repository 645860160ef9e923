//! Who somebody is: SPIFFE ids, parsed.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// Authority of all SPIFFE ids of one cluster, e.g. `0123456789.sextant.internal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

/// A Kubernetes node name: a DNS-1123 subdomain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

macro_rules! service_names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A part of the control plane, or a controller that belongs to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ServiceName {
            $($(#[$doc])* $variant,)+
        }

        impl ServiceName {
            /// All of them.
            pub const ALL: &'static [ServiceName] = &[$(ServiceName::$variant,)+];

            /// The name as it stands in URIs, images and DNS.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ServiceName::$variant => $name,)+
                }
            }
        }
    };
}

service_names! {
    /// `cert-authority`
    CertAuthority = "cert-authority",
    /// `collector`, which takes in what all others tell about themselves
    Collector = "collector",
    /// `datastore-proxy`
    DatastoreProxy = "datastore-proxy",
    /// `kube-apiserver`
    KubeApiserver = "kube-apiserver",
    /// `kube-controller-manager`
    KubeControllerManager = "kube-controller-manager",
    /// `kube-scheduler`
    KubeScheduler = "kube-scheduler",
    /// `netpol-controller`
    NetpolController = "netpol-controller",
    /// `supervisor`
    Supervisor = "supervisor",
    /// `token-service`
    TokenService = "token-service",
}

/// Who somebody is within a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// An operator: `/admin`.
    Admin,
    /// A node: `/node/<name>`.
    Node(NodeName),
    /// A service: `/service/<name>`.
    Service(ServiceName),
}

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Identity {
    /// What it is called where there may be few names, as in metrics: all nodes are `node`.
    pub fn label(&self) -> &'static str {
        match self {
            Identity::Admin => "admin",
            Identity::Node(_) => "node",
            Identity::Service(name) => name.as_str(),
        }
    }

    /// The SPIFFE id, e.g. `spiffe://<td>/service/supervisor`.
    pub fn to_uri(&self, trust_domain: &TrustDomain) -> String {
        format!("spiffe://{trust_domain}/{self}")
    }

    /// Parses a SPIFFE id.
    pub fn from_uri(uri: &str) -> Result<(TrustDomain, Identity), Error> {
        let invalid = |reason: &str| Error::Invalid {
            what: format!("SPIFFE id `{uri}`"),
            reason: reason.to_owned(),
        };
        let rest = uri
            .strip_prefix("spiffe://")
            .ok_or_else(|| invalid("no spiffe:// scheme"))?;
        let (domain, path) = rest.split_once('/').ok_or_else(|| invalid("no path"))?;
        Ok((domain.parse()?, path.parse()?))
    }

    /// The service, if it is one.
    pub fn service(&self) -> Option<ServiceName> {
        match self {
            Identity::Service(name) => Some(*name),
            _ => None,
        }
    }

    /// The node's name, if it is one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Identity::Node(name) => Some(name),
            _ => None,
        }
    }
}

/// Parses the path form that [`fmt::Display`] writes: `service/<name>`, `node/<name>`, `admin`.
impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('/') {
            None if text == "admin" => Ok(Identity::Admin),
            Some(("node", name)) => Ok(Identity::Node(name.parse()?)),
            Some(("service", name)) => Ok(Identity::Service(name.parse()?)),
            _ => Err(Error::Invalid {
                what: format!("identity `{text}`"),
                reason: "must be service/<name>, node/<name> or admin".to_owned(),
            }),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Admin => f.write_str("admin"),
            Identity::Node(name) => write!(f, "node/{name}"),
            Identity::Service(name) => write!(f, "service/{name}"),
        }
    }
}

impl From<ServiceName> for Identity {
    fn from(name: ServiceName) -> Self {
        Identity::Service(name)
    }
}

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .copied()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| Error::Invalid {
                what: format!("service name `{text}`"),
                reason: "no such service".to_owned(),
            })
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TrustDomain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        subdomain("trust domain", text).map(Self)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        subdomain("node name", text).map(Self)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A DNS-1123 subdomain: labels of a-z, 0-9 and inner hyphens, at most 63 long, 253 in all.
fn subdomain(what: &str, text: &str) -> Result<String, Error> {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(Error::Invalid {
        what: format!("{what} `{text}`"),
        reason: "must be a DNS-1123 subdomain (lower-case letters, digits, hyphens and dots)"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_round_trip() {
        let domain: TrustDomain = "0a1b2c3d4e.sextant.internal".parse().unwrap();
        let services = ServiceName::ALL.iter().map(|name| Identity::Service(*name));
        let node = Identity::Node("node-1.example".parse().unwrap());
        for identity in services.chain([node, Identity::Admin]) {
            let uri = identity.to_uri(&domain);
            assert_eq!(
                Identity::from_uri(&uri).unwrap(),
                (domain.clone(), identity)
            );
        }
    }

    #[test]
    fn refuses_what_is_no_identity() {
        for uri in [
            "https://td/admin",
            "spiffe://td",
            "spiffe:///admin",
            "spiffe://td/",
            "spiffe://td/admin/",
            "spiffe://td/admin?x",
            "spiffe://td/service/other",
            "spiffe://td/service/supervisor/x",
            "spiffe://td/node/",
            "spiffe://td/node/A",
            "spiffe://td/node/-a",
            "spiffe://td/node/a..b",
            "spiffe://td:1/admin",
            "spiffe://u@td/admin",
        ] {
            assert!(Identity::from_uri(uri).is_err(), "{uri}");
        }
        let long = format!("spiffe://td/node/{}", "a.".repeat(127) + "aa");
        assert!(Identity::from_uri(&long).is_err());
    }
}
