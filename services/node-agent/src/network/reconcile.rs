//! Brings the kernel to what the configuration asks, on each change and every half minute.

use super::nft::Nft;
use super::table::{Rules, Table};
use super::{Netlink, VxlanDevice, policy};
use crate::config::{Config, text};
use crate::domain::cni::{PodNetwork, VXLAN_OVERHEAD};
use crate::domain::overlay::{Entries, Mac, vtep_address};
use crate::error::Error;
use crate::store::{Last, write_if_changed};
use ipnet::Ipv4Net;
use sextant_kit::{Drain, Task};
use sextant_proto::supervisor::{NodeConfig, NodeSettings};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::timeout;

/// The interface that holds the API's address.
pub const API_INTERFACE: &str = "sextant-api";
/// The overlay's device.
pub const VXLAN_INTERFACE: &str = "sx-vxlan";
/// Between looks at the kernel.
const PERIOD: Duration = Duration::from_secs(30);
/// Longest wait for the resolver.
const RESOLVE: Duration = Duration::from_secs(3);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// The node's network.
pub struct Network {
    config: Arc<Config>,
    vtep_mac: Mac,
    netlink: Netlink,
    nft: Nft,
    table: Table,
    supervisors: BTreeSet<SocketAddrV4>,
}

impl Network {
    /// Opens what is needed to change the kernel.
    pub fn new(config: Arc<Config>, vtep_mac: Mac) -> Result<Self, Error> {
        Ok(Self {
            config,
            vtep_mac,
            netlink: Netlink::open()?,
            nft: Nft::new(),
            table: Table::default(),
            supervisors: BTreeSet::new(),
        })
    }

    /// Reconciles until drained. The network stays when the agent goes.
    pub async fn run(
        mut self,
        last: Last,
        mut addresses: watch::Receiver<Vec<IpAddr>>,
        task: Task,
        drain: Drain,
    ) {
        let reconcile = async {
            let mut follow = last.follow();
            loop {
                let config = follow.borrow_and_update().clone();
                let own = addresses.borrow_and_update().clone();
                let pause = match self.reconcile(&config, &own).await {
                    Ok(()) if config.pod_cidr.is_empty() => {
                        task.waiting("the cluster hasn't given this node a pod network yet");
                        PERIOD
                    }
                    Ok(()) => {
                        task.ready();
                        PERIOD
                    }
                    Err(error) => {
                        task.waiting(error.to_string());
                        AGAIN
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = follow.changed() => {}
                    _ = addresses.changed() => {}
                }
            }
        };
        let _ = drain.run(reconcile).await;
    }

    async fn reconcile(&mut self, config: &NodeConfig, own: &[IpAddr]) -> Result<(), Error> {
        let Some(settings) = &config.settings else {
            return Ok(());
        };
        let api = parse(&settings.api_address, "settings.api_address")?;
        self.netlink.ensure_dummy(API_INTERFACE, api).await?;
        if config.pod_cidr.is_empty() {
            return Ok(());
        }
        let pods: Ipv4Net = parse(&config.pod_cidr, "this node's pod network")?;
        let cluster: Ipv4Net = parse(&settings.cluster_cidr, "settings.cluster_cidr")?;
        let Some(IpAddr::V4(underlay)) = own.first() else {
            return Err(Error::network(
                "building the overlay",
                "the node has no IPv4 address yet",
            ));
        };
        enable_forwarding()?;
        let mtu = self.overlay(config, settings, *underlay, &pods).await?;
        self.resolve(settings).await;
        let supervisors = self.supervisors.clone();
        let rules = Rules {
            pods,
            cluster,
            supervisors,
        };
        self.table.ensure(&self.nft, &rules).await?;
        if !settings.network_policy {
            policy::remove(&self.nft, &self.config.policy_socket).await?;
        }
        // Last: the runtime calls the node's network ready once this file is there.
        self.conflist(settings, pods, mtu)
    }

    /// While a name doesn't resolve its last addresses count.
    async fn resolve(&mut self, settings: &NodeSettings) {
        let mut found = BTreeSet::new();
        for supervisor in &settings.supervisors {
            let Ok(Ok(addresses)) = timeout(RESOLVE, lookup_host(supervisor)).await else {
                return;
            };
            found.extend(addresses.filter_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            }));
        }
        self.supervisors = found;
    }

    async fn overlay(
        &self,
        config: &NodeConfig,
        settings: &NodeSettings,
        underlay: Ipv4Addr,
        pods: &Ipv4Net,
    ) -> Result<u32, Error> {
        let holder = self.netlink.holder(underlay).await?.ok_or_else(|| {
            Error::network(
                "building the overlay",
                format!("no interface holds {underlay}"),
            )
        })?;
        let mtu = holder.mtu.saturating_sub(VXLAN_OVERHEAD);
        let vxlan = settings.vxlan.unwrap_or_default();
        let port = u16::try_from(vxlan.port)
            .map_err(|e| Error::network(format!("settings.vxlan.port {}", vxlan.port), e))?;
        let device = VxlanDevice {
            name: VXLAN_INTERFACE.into(),
            vni: vxlan.vni,
            port,
            local: underlay,
            mac: self.vtep_mac,
            address: vtep_address(pods),
            mtu,
        };
        let index = self.netlink.ensure_vxlan(&device).await?;
        let desired = Entries::desired(&config.peers, pods);
        let change = self.netlink.entries(index).await?.change_to(&desired);
        if !(change.add.is_empty() && change.delete.is_empty()) {
            let (add, delete) = (change.add.routes.len(), change.delete.routes.len());
            tracing::info!(add, delete, peers = config.peers.len(), "overlay changes");
            self.netlink.apply(index, &change).await?;
        }
        Ok(mtu)
    }

    fn conflist(&self, settings: &NodeSettings, pods: Ipv4Net, mtu: u32) -> Result<(), Error> {
        let network = PodNetwork {
            pod_cidr: pods.into(),
            mtu,
            network_policy: settings.network_policy,
            policy_socket: text(&self.config.policy_socket),
            leases: text(&self.config.cni_leases()),
        };
        let path = self.config.cni_conf_dir().join("10-sextant.conflist");
        let content = format!("{:#}\n", network.conflist());
        write_if_changed(&path, content.as_bytes()).map(|_| ())
    }
}

fn enable_forwarding() -> Result<(), Error> {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    std::fs::write(path, "1").map_err(|e| {
        Error::network(
            "switching IP forwarding on (give the container net.ipv4.ip_forward=1)",
            e,
        )
    })
}

fn parse<T: std::str::FromStr>(value: &str, what: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    value
        .parse()
        .map_err(|e| Error::network(format!("{what} `{value}`"), e))
}
