//! The kernel's interfaces, addresses, routes and neighbours.

use crate::error::Error;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkDummy, LinkMessageBuilder, LinkUnspec};
use std::net::{IpAddr, Ipv4Addr};
use tokio_util::task::AbortOnDropHandle;

/// A netlink connection in the current network namespace.
pub struct Netlink {
    pub(super) handle: Handle,
    _connection: AbortOnDropHandle<()>,
}

/// An interface as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) mtu: u32,
    pub(super) message: LinkMessage,
}

impl Netlink {
    /// Opens a connection.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|e| Error::network("opening a netlink socket", e))?;
        Ok(Self {
            handle,
            _connection: AbortOnDropHandle::new(tokio::spawn(connection)),
        })
    }

    /// A dummy interface that is up and holds `address`; where the kernel has none, `lo` takes the address.
    pub async fn ensure_dummy(&self, name: &str, address: Ipv4Addr) -> Result<(), Error> {
        if let Some(holder) = self.holder(address).await? {
            return self.up(holder.index, name).await;
        }
        let interface = match self.interface(name).await? {
            Some(interface) => interface,
            None => {
                let made = self
                    .handle
                    .link()
                    .add(LinkDummy::new(name).up().build())
                    .execute()
                    .await;
                if let Err(error) = made {
                    tracing::warn!(%error, "no dummy interface here: the API's address goes on lo");
                }
                let found = match self.interface(name).await? {
                    Some(interface) => Some(interface),
                    None => self.interface("lo").await?,
                };
                found
                    .ok_or_else(|| Error::network("finding an interface", "there is not even lo"))?
            }
        };
        self.ensure_only_address(interface.index, address, name)
            .await?;
        self.up(interface.index, name).await
    }

    /// The interface of this name.
    pub(super) async fn interface(&self, name: &str) -> Result<Option<Interface>, Error> {
        let mut links = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(Interface::from)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -19 => Ok(None),
            Err(error) => Err(Error::network(format!("looking for {name}"), error)),
        }
    }

    /// The interface that holds `address`.
    pub(super) async fn holder(&self, address: Ipv4Addr) -> Result<Option<Interface>, Error> {
        let filter = self
            .handle
            .address()
            .get()
            .set_address_filter(IpAddr::V4(address));
        let failed = |e| Error::network(format!("looking for {address}"), e);
        let Some(found) = filter.execute().try_next().await.map_err(failed)? else {
            return Ok(None);
        };
        let mut links = self
            .handle
            .link()
            .get()
            .match_index(found.header.index)
            .execute();
        Ok(links.try_next().await.map_err(failed)?.map(Interface::from))
    }

    /// Gives the interface this /32 and takes other IPv4 addresses away, except on `lo`.
    pub(super) async fn ensure_only_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        name: &str,
    ) -> Result<(), Error> {
        let failed = |e| Error::network(format!("giving {name} the address {address}"), e);
        let all = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute();
        let all: Vec<_> = all.try_collect().await.map_err(failed)?;
        let mut there = false;
        for message in all {
            if message.header.family != AddressFamily::Inet {
                continue;
            }
            let is = |a: &AddressAttribute| *a == AddressAttribute::Address(IpAddr::V4(address));
            if message.header.prefix_len == 32 && message.attributes.iter().any(is) {
                there = true;
            } else if index != 1 {
                self.handle
                    .address()
                    .del(message)
                    .execute()
                    .await
                    .map_err(failed)?;
            }
        }
        if there {
            return Ok(());
        }
        let add = self.handle.address().add(index, IpAddr::V4(address), 32);
        add.replace().execute().await.map_err(failed)
    }

    /// Sets the interface up.
    pub(super) async fn up(&self, index: u32, name: &str) -> Result<(), Error> {
        self.set(
            LinkUnspec::new_with_index(index).up(),
            format!("setting {name} up"),
        )
        .await
    }

    pub(super) async fn set(
        &self,
        change: LinkMessageBuilder<LinkUnspec>,
        what: String,
    ) -> Result<(), Error> {
        let set = self.handle.link().set(change.build());
        set.execute().await.map_err(|e| Error::network(what, e))
    }
}

impl From<LinkMessage> for Interface {
    fn from(message: LinkMessage) -> Self {
        let mtu = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            });
        Self {
            index: message.header.index,
            mtu: mtu.unwrap_or(1500),
            message,
        }
    }
}
