//! Who may be a node: names and addresses, the registered key, joining again and coming back.

use super::cluster::ClusterConfig;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Names that occur in server certificates of the control plane.
const RESERVED: [&str; 12] = [
    "cert-authority",
    "datastore-proxy",
    "edge",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubernetes",
    "localhost",
    "netpol-controller",
    "node-agent",
    "supervisor",
    "token-service",
];
/// A node may renew its key; an answer lost on the way must not lock it out.
const KEPT_KEYS: usize = 3;
const MOST_ADDRESSES: usize = 16;

/// What is kept of a node that joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRecord {
    /// SHA-256 of the node's mesh public keys (SubjectPublicKeyInfo DER), hexadecimal, newest last.
    pub keys: Vec<String>,
    /// When it joined.
    pub joined_unix: i64,
    /// When it last got certificates.
    pub certified_unix: i64,
    /// When it first opened a session; 0 before that.
    pub first_session_unix: i64,
    /// Its addresses, as it last said.
    pub addresses: Vec<String>,
    /// MAC of its VXLAN device.
    pub vtep_mac: String,
    /// Version of its node-agent.
    pub agent_version: String,
    /// Its pod network, as the API last said.
    pub pod_cidr: String,
}

impl NodeRecord {
    /// Whether `key` is one of the node's own.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// Notes that certificates were issued for `key`.
    pub fn certify(&mut self, key: &str, now: i64) {
        self.keys.retain(|known| known != key);
        self.keys.push(key.to_owned());
        if self.keys.len() > KEPT_KEYS {
            self.keys.remove(0);
        }
        self.certified_unix = now;
    }
}

/// Why a node may not join or come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address can't be a node's.
    #[error("{0}")]
    Address(String),
    /// The key isn't one that this node registered.
    #[error(
        "node {0:?} is registered with another key than the one presented: join it with a new token scoped to this name (`sextant token create --node {0}`)"
    )]
    KeyUnknown(String),
    /// The name can't be a node's.
    #[error("{0}")]
    Name(String),
    /// Another machine has this name.
    #[error("node {name:?} has joined with another key{why}")]
    NameTaken {
        /// The name.
        name: String,
        /// What stands in the way and what to do.
        why: &'static str,
    },
    /// It never joined, or was removed.
    #[error("node {0:?} isn't registered: join it with a token (`sextant token create`)")]
    NotRegistered(String),
    /// It was away for too long.
    #[error(
        "node {name:?} got its last certificates {days} days ago, the window for coming back is {window} days: join it with a new token scoped to this name (`sextant token create --node {name}`)"
    )]
    WindowPassed {
        /// The name.
        name: String,
        /// Days since its last certificates.
        days: i64,
        /// Days allowed.
        window: u32,
    },
}

/// Checks a node's name against DNS-1123 and the names that servers of the control plane have.
///
/// # Errors
/// A sentence that names the rule.
pub fn check_node_name(name: &str, cluster: &ClusterConfig) -> Result<(), String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!(
            "node name {name:?} is not a DNS-1123 subdomain: use lower-case letters, digits, '-' and '.'"
        ));
    }
    // A dotted number would be taken for an address by routing and by certificates.
    if name.parse::<IpAddr>().is_ok() || name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!(
            "node name {name:?} reads like an address: choose a name"
        ));
    }
    let endpoints = cluster.api.servers.iter().chain(&cluster.supervisors);
    let is_endpoint = endpoints
        .filter_map(|e| e.rsplit_once(':'))
        .any(|(host, _)| host == name);
    let first = name.split('.').next().unwrap_or(name);
    if RESERVED.contains(&first) || first.starts_with("kubernetes") || is_endpoint {
        return Err(format!(
            "node name {name:?} belongs to the control plane: choose another"
        ));
    }
    Ok(())
}

/// Parses the addresses a node asks for and refuses those that servers of the control plane have.
///
/// # Errors
/// [`Refusal::Address`] with the address and the rule.
pub fn check_addresses(
    addresses: &[String],
    cluster: &ClusterConfig,
) -> Result<Vec<IpAddr>, Refusal> {
    if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
        return Err(Refusal::Address(format!(
            "{} addresses asked for: a node needs 1 to {MOST_ADDRESSES}",
            addresses.len()
        )));
    }
    let nets = &cluster.networks;
    addresses
        .iter()
        .map(|text| {
            let ip: IpAddr = text
                .parse()
                .map_err(|_| Refusal::Address(format!("{text:?} is not an IP address")))?;
            let reason = if ip.is_loopback() {
                "loopback"
            } else if ip.is_unspecified() || ip.is_multicast() {
                "not a host's address"
            } else if nets.service_cidr.contains(&ip) {
                "inside the service network"
            } else if nets.cluster_cidr.contains(&ip) {
                "inside the pods' network"
            } else if ip == cluster.api.node_address {
                "the address every node offers the API on"
            } else {
                return Ok(ip);
            };
            Err(Refusal::Address(format!(
                "address {ip} is {reason}: a node can't have it"
            )))
        })
        .collect()
}

/// What is known when a node with a good token asks to join.
#[derive(Clone, Copy, Debug)]
pub struct JoinFacts<'a> {
    /// The wanted name.
    pub name: &'a str,
    /// SHA-256 of the presented key.
    pub key: &'a str,
    /// What is registered under the name.
    pub existing: Option<&'a NodeRecord>,
    /// Whether the token is scoped to exactly this name.
    pub scoped_to_name: bool,
    /// Whether a session of this name is open now.
    pub live_session: bool,
}

/// The record to write for a node that joins.
///
/// A second machine under an existing name is refused, or two machines would take each other's identity. The
/// exception is the machine that lost its disk: an administrator (or the deployment, for the nodes it brings)
/// made a token for exactly this name, and nobody is connected under it now. The old key is forgotten then, so
/// the lost disk can't come back by rejoining.
///
/// # Errors
/// [`Refusal::NameTaken`].
pub fn decide_join(facts: JoinFacts<'_>, now: i64) -> Result<NodeRecord, Refusal> {
    let taken = |why| Refusal::NameTaken {
        name: facts.name.to_owned(),
        why,
    };
    let mut record = match facts.existing {
        None => NodeRecord {
            joined_unix: now,
            ..NodeRecord::default()
        },
        Some(existing) if existing.has_key(facts.key) => existing.clone(),
        Some(_) if facts.live_session => {
            return Err(taken(
                " and is connected now: choose another name for this machine, or stop the other one first",
            ));
        }
        Some(_) if !facts.scoped_to_name => {
            return Err(taken(
                ": choose another name for this machine; if it is the same machine with a new disk, remove the node (`sextant node remove`) or join with a token scoped to this name (`sextant token create --node …`)",
            ));
        }
        Some(existing) => NodeRecord {
            joined_unix: now,
            pod_cidr: existing.pod_cidr.clone(),
            ..NodeRecord::default()
        },
    };
    record.certify(facts.key, now);
    Ok(record)
}

/// Whether a node that proved `key` may have new certificates without a token.
///
/// # Errors
/// The reason to say no.
pub fn decide_rejoin(
    name: &str,
    key: &str,
    existing: Option<&NodeRecord>,
    window_days: u32,
    now: i64,
) -> Result<NodeRecord, Refusal> {
    let record = existing.ok_or_else(|| Refusal::NotRegistered(name.to_owned()))?;
    if !record.has_key(key) {
        return Err(Refusal::KeyUnknown(name.to_owned()));
    }
    let days = (now - record.certified_unix).max(0) / 86_400;
    if days > i64::from(window_days) {
        return Err(Refusal::WindowPassed {
            name: name.to_owned(),
            days,
            window: window_days,
        });
    }
    Ok(record.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn record(keys: &[&str]) -> NodeRecord {
        NodeRecord {
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            joined_unix: 1,
            certified_unix: 1,
            pod_cidr: "10.244.1.0/24".into(),
            ..NodeRecord::default()
        }
    }

    fn join(
        existing: Option<&NodeRecord>,
        scoped_to_name: bool,
        live_session: bool,
    ) -> Result<NodeRecord, Refusal> {
        decide_join(
            JoinFacts {
                name: "n",
                key: "k2",
                existing,
                scoped_to_name,
                live_session,
            },
            100,
        )
    }

    #[test]
    fn names() {
        let cluster = ClusterConfig::default();
        for good in ["node-1", "a", "rack1.example.org", "n0"] {
            assert_eq!(check_node_name(good, &cluster), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Node",
            "-a",
            "a-",
            "a..b",
            "a_b",
            "10.0.0.1",
            "12",
            "kubernetes",
            "kubernetes.default",
            "kubernetes-x",
            "localhost",
            "supervisor",
            "kube-apiserver.control",
            "edge",
        ] {
            assert!(check_node_name(bad, &cluster).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let cluster = ClusterConfig::default();
        let check = |a: &str| check_addresses(&[a.to_owned()], &cluster);
        assert!(check("172.18.0.4").is_ok());
        assert!(check("2001:db8::4").is_ok());
        for bad in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "10.96.0.1",
            "10.244.3.4",
            "192.0.2.1",
            "node-1",
            "224.0.0.1",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check_addresses(&[], &cluster).is_err());
    }

    #[test]
    fn a_new_name_is_registered() {
        let made = join(None, false, false).unwrap();
        assert_eq!((made.keys, made.joined_unix), (vec!["k2".to_owned()], 100));
    }

    #[test]
    fn joining_again_with_the_same_key_keeps_the_record() {
        let made = join(Some(&record(&["k2"])), false, true).unwrap();
        assert_eq!((made.joined_unix, made.certified_unix), (1, 100));
    }

    #[test]
    fn another_key_needs_a_scoped_token_and_nobody_connected() {
        let existing = record(&["k1"]);
        assert!(join(Some(&existing), false, false).is_err());
        assert!(join(Some(&existing), true, true).is_err());
        let replaced = join(Some(&existing), true, false).unwrap();
        assert_eq!(replaced.keys, ["k2"]);
        assert_eq!(replaced.pod_cidr, "10.244.1.0/24");
    }

    #[test]
    fn coming_back() {
        let existing = record(&["k1", "k2"]);
        let back = |key, now| decide_rejoin("n", key, Some(&existing), 30, now);
        assert!(back("k1", 30 * DAY).is_ok());
        assert!(matches!(
            back("k1", 32 * DAY),
            Err(Refusal::WindowPassed { days: 31, .. })
        ));
        assert!(matches!(back("k3", DAY), Err(Refusal::KeyUnknown(_))));
        assert!(matches!(
            decide_rejoin("n", "k1", None, 30, DAY),
            Err(Refusal::NotRegistered(_))
        ));
        // A clock that went back doesn't lock a node out.
        assert!(back("k1", -5 * DAY).is_ok());
    }

    #[test]
    fn only_the_newest_keys_are_kept() {
        let mut kept = record(&["k1"]);
        for key in ["k2", "k3", "k2", "k4"] {
            kept.certify(key, 5);
        }
        assert_eq!(kept.keys, ["k3", "k2", "k4"]);
    }
}
