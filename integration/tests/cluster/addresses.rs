//! Containers made anew under other addresses, one after the other, while the rest runs.

use crate::failure::{PARTS, came_back};
use crate::nodes::healthy;
use crate::workloads::IMAGE;
use anyhow::{Result, bail, ensure};
use sextant_integration::{Api, Cluster, docker, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);
/// Docker gives the lowest free address, so this many containers hold every one that a single container left.
const MOST_HOLDERS: usize = 24;

pub fn others_everywhere(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "kept-over-addresses"])?;
    let mut holders = Holders::new(cluster);
    for service in PARTS.iter().chain(&["node-1", "node-2"]) {
        let before = addresses(cluster, service)?;
        cluster.compose(&["rm", "--stop", "--force", service])?;
        holders.hold(&before)?;
        cluster.compose(&["up", "--detach", "--no-deps", service])?;
        let after = addresses(cluster, service)?;
        for (network, address) in &after {
            ensure!(
                before.get(network) != Some(address),
                "{service} has {address} in {network} again"
            );
        }
        eventually(&format!("{service} healthy at {after:?}"), SOON, || {
            ensure!(healthy(cluster, service)? == 1, "not healthy yet");
            Ok(())
        })?;
    }
    for node in ["node-1", "node-2"] {
        let addresses = addresses(cluster, node)?;
        eventually(&format!("{node} tells {addresses:?}"), SOON, || {
            let told = cluster.get(&["node", node])?["status"]["addresses"].to_string();
            ensure!(addresses.values().all(|a| told.contains(a)), "{told}");
            Ok(())
        })?;
    }
    // `client` and the pods of `web` are on different nodes: this goes through the pod network, too.
    came_back(cluster, "kept-over-addresses")
}

/// Network and address of a service's only container.
fn addresses(cluster: &Cluster, service: &str) -> Result<BTreeMap<String, String>> {
    container_addresses(cluster, &cluster.containers(service)?[0])
}

fn container_addresses(cluster: &Cluster, container: &str) -> Result<BTreeMap<String, String>> {
    let networks = cluster.inspect(container)?["NetworkSettings"]["Networks"].clone();
    let networks = networks.as_object().into_iter().flatten();
    Ok(networks
        .filter_map(|(network, settings)| {
            Some((network.clone(), settings["IPAddress"].as_str()?.to_owned()))
        })
        .collect())
}

/// Containers that do nothing but have addresses; removed when dropped.
struct Holders<'a> {
    cluster: &'a Cluster,
    names: Vec<String>,
}

impl<'a> Holders<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            names: Vec::new(),
        }
    }

    /// Takes addresses until these are taken.
    fn hold(&mut self, addresses: &BTreeMap<String, String>) -> Result<()> {
        for (network, address) in addresses {
            while self.start(network)? != *address {
                if self.names.len() >= MOST_HOLDERS {
                    bail!("{MOST_HOLDERS} containers didn't get {address} of {network}");
                }
            }
        }
        Ok(())
    }

    /// Starts one more in a network, and gives its address.
    fn start(&mut self, network: &str) -> Result<String> {
        let project = self.cluster.project();
        let name = format!("{project}-holder-{}", self.names.len());
        self.names.push(name.clone());
        // By its labels it is an orphan of the project, which goes with it whatever happens to this test.
        docker(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            network,
            "--label",
            &format!("com.docker.compose.project={project}"),
            "--label",
            "com.docker.compose.service=holder",
            "--label",
            "com.docker.compose.oneoff=False",
            IMAGE,
            "sleep",
            "86400",
        ])?;
        let mut addresses = container_addresses(self.cluster, &name)?;
        Ok(addresses.remove(network).unwrap_or_default())
    }
}

impl Drop for Holders<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = docker(&["rm", "--force", name]);
        }
    }
}
