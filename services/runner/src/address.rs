//! What flags leave open: the container's own address, and where it keeps state.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use tokio::net::{UdpSocket, lookup_host};

/// What stands in flags for the own address.
const ADDRESS: &str = "{{ADVERTISE_ADDRESS}}";
/// What stands in flags for the replica's state folder.
const STATE: &str = "{{STATE_FOLDER}}";

/// The address from which one of `targets` (host:port) is reached, tried in order; when none resolves, the first
/// address of an interface that is no loopback.
pub(crate) async fn own_address(targets: &[&str]) -> Option<IpAddr> {
    for target in targets {
        let Ok(addresses) = lookup_host(target).await else {
            continue;
        };
        for address in addresses {
            if let Ok(own) = route_to(address).await {
                return Some(own);
            }
        }
    }
    interface_address()
}

/// Connecting a UDP socket sends nothing; it only asks the kernel for the route.
async fn route_to(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}

fn interface_address() -> Option<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    let usable = |ip: &IpAddr| {
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        !ip.is_loopback() && !link_local
    };
    addresses.filter(usable).min_by_key(|ip| ip.is_ipv6())
}

/// The arguments with the own address and the state folder in their places. None when an address is needed and
/// unknown.
pub(crate) fn fill_in(
    arguments: &[String],
    own: Option<IpAddr>,
    state: &Path,
) -> Option<Vec<String>> {
    let fill = |argument: &String| {
        let argument = argument.replace(STATE, &state.to_string_lossy());
        match own {
            Some(own) => Some(argument.replace(ADDRESS, &own.to_string())),
            None if argument.contains(ADDRESS) => None,
            None => Some(argument),
        }
    };
    arguments.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_folder_are_filled_in_where_they_are_asked_for() {
        let state = Path::new("/state");
        let arguments = [
            "--audit-log-path={{STATE_FOLDER}}/audit.log".to_owned(),
            "--advertise-address={{ADVERTISE_ADDRESS}}".to_owned(),
        ];
        let own = Some(IpAddr::from([10, 0, 0, 7]));
        assert_eq!(
            fill_in(&arguments, own, state).unwrap()[1],
            "--advertise-address=10.0.0.7"
        );
        assert_eq!(fill_in(&arguments, None, state), None);
        assert_eq!(
            fill_in(&arguments[..1], None, state).unwrap(),
            ["--audit-log-path=/state/audit.log"]
        );
    }

    #[tokio::test]
    async fn the_own_address_is_that_of_the_route() {
        let own = own_address(&["no.such.name.invalid:1", "127.0.0.1:7443"]).await;
        assert_eq!(own, Some(IpAddr::from([127, 0, 0, 1])));
    }
}
