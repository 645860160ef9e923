//! The VXLAN device and its entries.

use super::netlink::{Interface, Netlink};
use crate::domain::overlay::{Change, Entries, Forward, Mac, Neighbour, Route};
use crate::error::Error;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{LinkUnspec, LinkVxlan, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};

/// What the device should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanDevice {
    /// Its name.
    pub name: String,
    /// Network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// This node's address on the underlying network.
    pub local: Ipv4Addr,
    /// Its hardware address.
    pub mac: Mac,
    /// Its address on the overlay.
    pub address: Ipv4Addr,
    /// Its MTU.
    pub mtu: u32,
}

impl Netlink {
    /// Makes the device what it should be; one of another kind is made anew. Returns its index.
    pub async fn ensure_vxlan(&self, device: &VxlanDevice) -> Result<u32, Error> {
        let name = &device.name;
        let failed = |e| Error::network(format!("making the device {name}"), e);
        let found = match self.interface(name).await? {
            Some(interface) if is(&interface, device) => Some(interface),
            Some(other) => {
                tracing::info!(
                    name,
                    "the overlay's parameters changed: making its device anew"
                );
                self.handle
                    .link()
                    .del(other.index)
                    .execute()
                    .await
                    .map_err(failed)?;
                None
            }
            None => None,
        };
        let interface = match found {
            Some(interface) => interface,
            None => {
                let link = LinkVxlan::new(name, device.vni)
                    .port(device.port)
                    .local(device.local)
                    .learning(false)
                    .append_extra_attribute(LinkAttribute::Address(device.mac.0.to_vec()))
                    .append_extra_attribute(LinkAttribute::Mtu(device.mtu));
                self.handle
                    .link()
                    .add(link.build())
                    .execute()
                    .await
                    .map_err(failed)?;
                let made = self.interface(name).await?;
                made.ok_or_else(|| {
                    Error::network(format!("making the device {name}"), "it is gone")
                })?
            }
        };
        if interface.mtu != device.mtu {
            let mtu = LinkAttribute::Mtu(device.mtu);
            let change = LinkUnspec::new_with_index(interface.index).append_extra_attribute(mtu);
            self.set(
                change,
                format!("setting the MTU of {name} to {}", device.mtu),
            )
            .await?;
        }
        self.ensure_only_address(interface.index, device.address, name)
            .await?;
        self.up(interface.index, name).await?;
        Ok(interface.index)
    }

    /// What the kernel holds for the device.
    pub async fn entries(&self, index: u32) -> Result<Entries, Error> {
        let failed = |e| Error::network("reading the overlay's entries", e);
        let routes = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build());
        let routes: Vec<_> = routes.execute().try_collect().await.map_err(failed)?;
        let neighbours = self
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Inet)
            .execute();
        let neighbours: Vec<_> = neighbours.try_collect().await.map_err(failed)?;
        let forwards = self
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Bridge);
        let forwards: Vec<_> = forwards.execute().try_collect().await.map_err(failed)?;
        let ours = |message: &&NeighbourMessage| {
            message.header.ifindex == index && message.header.state == NeighbourState::Permanent
        };
        Ok(Entries {
            routes: routes
                .iter()
                .filter_map(|message| route(message, index))
                .collect(),
            neighbours: neighbours
                .iter()
                .filter(ours)
                .filter_map(neighbour)
                .collect(),
            forwards: forwards.iter().filter(ours).filter_map(forward).collect(),
        })
    }

    /// Takes stale entries out and puts missing ones in.
    pub async fn apply(&self, index: u32, change: &Change) -> Result<(), Error> {
        let failed = |e| Error::network("changing the overlay's entries", e);
        for route in &change.delete.routes {
            self.handle
                .route()
                .del(route_message(route, index))
                .execute()
                .await
                .map_err(failed)?;
        }
        for neighbour in &change.delete.neighbours {
            let mut add = self
                .handle
                .neighbours()
                .add(index, IpAddr::V4(neighbour.address));
            let message = add.message_mut().clone();
            self.handle
                .neighbours()
                .del(message)
                .execute()
                .await
                .map_err(failed)?;
        }
        for forward in &change.delete.forwards {
            let message = self.forward_request(forward, index).message_mut().clone();
            self.handle
                .neighbours()
                .del(message)
                .execute()
                .await
                .map_err(failed)?;
        }
        for forward in &change.add.forwards {
            self.forward_request(forward, index)
                .replace()
                .execute()
                .await
                .map_err(failed)?;
        }
        for neighbour in &change.add.neighbours {
            let add = self
                .handle
                .neighbours()
                .add(index, IpAddr::V4(neighbour.address));
            let add = add.link_layer_address(&neighbour.mac.0).replace();
            add.execute().await.map_err(failed)?;
        }
        for route in &change.add.routes {
            let add = self
                .handle
                .route()
                .add(route_message(route, index))
                .replace();
            add.execute().await.map_err(failed)?;
        }
        Ok(())
    }

    fn forward_request(&self, forward: &Forward, index: u32) -> rtnetlink::NeighbourAddRequest {
        self.handle
            .neighbours()
            .add_bridge(index, &forward.mac.0)
            .destination(IpAddr::V4(forward.underlay))
            .flags(NeighbourFlags::Own)
    }
}

fn is(interface: &Interface, device: &VxlanDevice) -> bool {
    let attributes = &interface.message.attributes;
    let mac = LinkAttribute::Address(device.mac.0.to_vec());
    let info = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
            _ => None,
        }),
        _ => None,
    });
    let wanted = [
        InfoVxlan::Id(device.vni),
        InfoVxlan::Port(device.port),
        InfoVxlan::Local(device.local),
        InfoVxlan::Learning(false),
    ];
    info.is_some_and(|info| wanted.iter().all(|one| info.contains(one)))
        && attributes.contains(&mac)
}

fn route_message(route: &Route, index: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.pods.network(), route.pods.prefix_len())
        .gateway(route.via)
        .output_interface(index)
        .onlink()
        .build()
}

/// A route with a gateway through the device.
fn route(message: &RouteMessage, index: u32) -> Option<Route> {
    let (mut through, mut pods, mut via) = (false, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(network)) => {
                pods = Ipv4Net::new(*network, message.header.destination_prefix_length).ok();
            }
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => via = Some(*gateway),
            RouteAttribute::Oif(oif) => through = *oif == index,
            _ => {}
        }
    }
    through.then_some(Route {
        pods: pods?,
        via: via?,
    })
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let address = destination(message)?;
    Some(Neighbour {
        address,
        mac: mac(message)?,
    })
}

fn forward(message: &NeighbourMessage) -> Option<Forward> {
    Some(Forward {
        mac: mac(message)?,
        underlay: destination(message)?,
    })
}

fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
            // The forwarding database's family is "bridge", which says nothing about the address.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                <[u8; 4]>::try_from(bytes.as_slice())
                    .ok()
                    .map(Ipv4Addr::from)
            }
            _ => None,
        })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                bytes.as_slice().try_into().ok().map(Mac)
            }
            _ => None,
        })
}
