//! What the operator may set about certificates: names of servers, networks, lives. Parsed once, at start.

use super::san::San;
use crate::config::{Config, Lives};
use crate::error::Error;
use ipnet::IpNet;
use std::net::IpAddr;

/// Shortest life of a certificate that a process of ours renews in memory.
pub const MESH_FLOOR: i64 = 60;
/// Shortest life of a certificate that upstream components read from files: client-go looks at an idle
/// connection's files every five minutes.
pub const FILES_FLOOR: i64 = 15 * 60;
/// Longest life of any leaf.
pub const CEILING: i64 = 366 * 24 * 3600;

/// The settings that templates are made from.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Suffix of Service names, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// The networks of Service addresses.
    pub service_networks: Vec<IpNet>,
    /// Where nodes reach the API.
    pub api_address: IpAddr,
    /// More names of kube-apiserver.
    pub apiserver_names: Vec<San>,
    /// More names of datastore-proxy.
    pub datastore_names: Vec<San>,
    /// How long certificates live.
    pub lives: Lives,
}

impl Policy {
    /// Checks the configuration and parses it.
    pub fn new(config: &Config) -> Result<Self, Error> {
        check_lives(&config.lives)?;
        if config.cluster.service_cidrs.is_empty() {
            return Err(Error::Config(
                "cluster.service_cidrs is empty: name at least one network, e.g. 10.96.0.0/16"
                    .to_owned(),
            ));
        }
        Ok(Self {
            cluster_domain: domain_name("cluster.domain", &config.cluster.domain)?,
            service_networks: config.cluster.service_cidrs.clone(),
            api_address: config.node.api_address,
            apiserver_names: names("apiserver.names", &config.apiserver.names)?,
            datastore_names: names("datastore.names", &config.datastore.names)?,
            lives: config.lives.clone(),
        })
    }

    /// Addresses of the Service `default/kubernetes`: the first of each service network.
    pub fn kubernetes_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.service_networks
            .iter()
            .filter_map(|network| network.hosts().next())
    }
}

fn check_lives(lives: &Lives) -> Result<(), Error> {
    let rows = [
        ("mesh_seconds", lives.mesh_seconds, MESH_FLOOR),
        ("default_seconds", lives.default_seconds, FILES_FLOOR),
        (
            "apiserver_kubelet_client_seconds",
            lives.apiserver_kubelet_client_seconds,
            FILES_FLOOR,
        ),
        ("bootstrap_seconds", lives.bootstrap_seconds, MESH_FLOOR),
    ];
    for (key, seconds, floor) in rows {
        if !(floor..=CEILING).contains(&seconds) {
            return Err(Error::Config(format!(
                "lives.{key} is {seconds}: choose from {floor} to {CEILING} seconds"
            )));
        }
    }
    Ok(())
}

fn names(key: &str, names: &[String]) -> Result<Vec<San>, Error> {
    names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => Ok(San::Ip(address)),
            Err(_) => domain_name(key, name).map(San::Dns),
        })
        .collect()
}

fn domain_name(key: &str, name: &str) -> Result<String, Error> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(name.to_owned());
    }
    Err(Error::Config(format!(
        "{key} has {name:?}: give DNS names in lower case (a-z, 0-9, -, .) or IP addresses"
    )))
}
