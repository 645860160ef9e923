//! Which address is this node's.

use crate::error::Error;
use sextant_kit::Drain;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::watch;

/// How often the address is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The address that the kernel would use towards the first supervisor that resolves. No packet is sent.
pub async fn own(supervisors: &[String]) -> Result<IpAddr, Error> {
    let mut last = "no supervisor is configured".to_owned();
    for supervisor in supervisors {
        match towards(supervisor).await {
            Ok(address) => return Ok(address),
            Err(error) => last = format!("{supervisor}: {error}"),
        }
    }
    Err(Error::network(
        "finding the node's address (set `node_ip` to give it)",
        last,
    ))
}

/// Publishes the node's addresses whenever they change, until drained.
pub async fn follow(
    fixed: Option<IpAddr>,
    supervisors: Vec<String>,
    addresses: watch::Sender<Vec<IpAddr>>,
    drain: Drain,
) {
    let look = async {
        loop {
            let found = match fixed {
                Some(address) => Some(address),
                // While names don't resolve the node keeps the address it had.
                None => own(&supervisors).await.ok(),
            };
            if let Some(address) = found {
                addresses.send_if_modified(|current| {
                    let moved = *current != [address];
                    if moved {
                        tracing::info!(%address, before = ?current, "this node's address");
                        *current = vec![address];
                    }
                    moved
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = drain.run(look).await;
}

async fn towards(supervisor: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::other("the name has no address");
    let resolved = tokio::time::timeout(LOOK, lookup_host(supervisor)).await;
    for remote in resolved.map_err(|_| std::io::Error::other("no answer from the resolver"))?? {
        // The overlay is IPv4.
        if remote.is_ipv6() {
            continue;
        }
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        match socket.connect(remote).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
