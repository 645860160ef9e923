//! How other supervisors reach this one.

use crate::config::Config;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{UdpSocket, lookup_host};

/// `ip:port` of the internal listener: as configured, or the address this host has on the way to the datastore.
pub(super) async fn advertised(config: &Config, internal: SocketAddr) -> String {
    if !config.advertise.is_empty() {
        return config.advertise.clone();
    }
    if !internal.ip().is_unspecified() {
        return internal.to_string();
    }
    let ip = match on_the_way_to(&config.datastore).await {
        Ok(ip) => ip,
        Err(error) => {
            tracing::warn!(%error, "own address not found out: set `advertise`, or other supervisors can't relay to this one");
            Ipv4Addr::LOCALHOST.into()
        }
    };
    SocketAddr::new(ip, internal.port()).to_string()
}

/// Connecting a UDP socket sends nothing; it only chooses the route.
async fn on_the_way_to(peer: &str) -> std::io::Result<IpAddr> {
    let peer = lookup_host(peer)
        .await?
        .next()
        .ok_or_else(|| std::io::Error::other(format!("{peer} has no address")))?;
    let any: SocketAddr = if peer.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    Ok(socket.local_addr()?.ip())
}

/// The container's host name, for people who read `sextant node list`.
pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "supervisor".to_owned())
}
