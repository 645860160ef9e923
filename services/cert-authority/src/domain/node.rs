//! Which names and addresses a node may have: never one by which a server of the cluster is known.

use super::denied::{DenialReason, Denied};
use super::policy::Policy;
use super::san::{COMPONENT_SERVERS, San, apiserver_sans, datastore_sans};
use sextant_identity::{NodeName, ServiceName};
use std::net::IpAddr;

/// More addresses than any node has.
pub const MAX_ADDRESSES: usize = 32;

/// A node whose name and addresses are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedNode<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Its addresses, without repetition.
    pub addresses: Vec<IpAddr>,
}

impl<'a> AdmittedNode<'a> {
    /// Checks a node's wishes against everything that servers are called.
    pub fn check(
        policy: &Policy,
        name: &'a NodeName,
        addresses: &[IpAddr],
    ) -> Result<Self, Denied> {
        check_name(policy, name.as_str())?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(Denied::new(
                DenialReason::NodeAddress,
                format!(
                    "{} addresses were asked for: a node has at most {MAX_ADDRESSES}",
                    addresses.len()
                ),
            ));
        }
        let mut own: Vec<IpAddr> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let address = address.to_canonical();
            check_address(policy, address)?;
            if !own.contains(&address) {
                own.push(address);
            }
        }
        Ok(Self {
            name,
            addresses: own,
        })
    }
}

fn check_name(policy: &Policy, name: &str) -> Result<(), Denied> {
    let taken = if name.parse::<IpAddr>().is_ok() {
        Some("an IP address")
    } else if name.starts_with("kubernetes") {
        Some("a name of the Kubernetes API")
    } else if name == "localhost" || name.ends_with(".localhost") {
        Some("a name of every machine itself")
    } else if ServiceName::ALL
        .iter()
        .any(|service| service.as_str() == name)
    {
        Some("the name of a service")
    } else if within(name, "svc") || within(name, &policy.cluster_domain) {
        Some("a name of the cluster's Services")
    } else if server_names(policy).any(|san| matches!(san, San::Dns(dns) if dns == name)) {
        Some("a configured name of a server")
    } else {
        None
    };
    match taken {
        None => Ok(()),
        Some(what) => Err(Denied::new(
            DenialReason::NodeName,
            format!("a node can't be called {name:?}, which is {what}: choose another node name"),
        )),
    }
}

fn check_address(policy: &Policy, address: IpAddr) -> Result<(), Denied> {
    let taken = if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        Some("not an address of one machine")
    } else if address == IpAddr::from([255, 255, 255, 255]) {
        Some("the broadcast address")
    } else if policy
        .service_networks
        .iter()
        .any(|network| network.contains(&address))
    {
        Some("in the service network")
    } else if address == policy.api_address {
        Some("the API's address on every node (node.api_address)")
    } else if server_names(policy).any(|san| san == San::Ip(address)) {
        Some("a configured address of a server")
    } else {
        None
    };
    match taken {
        None => Ok(()),
        Some(what) => Err(Denied::new(
            DenialReason::NodeAddress,
            format!("a node can't have the address {address}, which is {what}: leave it out"),
        )),
    }
}

fn within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Every name in any server profile.
fn server_names(policy: &Policy) -> impl Iterator<Item = San> {
    let components = COMPONENT_SERVERS
        .iter()
        .map(|service| San::Dns(service.as_str().to_owned()));
    apiserver_sans(policy)
        .into_iter()
        .chain(datastore_sans(policy))
        .chain(components)
}
