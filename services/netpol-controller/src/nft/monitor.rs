//! Tells when somebody else changes our table, by the kernel's own notifications.

use super::answer::{Answer, answers};
use super::attribute;
use super::consts::{NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, NFT_MSG_NEWGEN, NFTA_TABLE};
use crate::domain::ruleset::TABLE;
use crate::error::{Error, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::os::fd::AsFd;

/// Room for notifications that aren't read yet, those of kube-proxy's tables among them. What is lost beyond is
/// told as a change.
const BUFFER: usize = 4 * 1024 * 1024;

/// A socket that hears of every change of any table.
pub struct Monitor {
    socket: TokioSocket,
    own: u32,
}

impl Monitor {
    /// Listens in the network namespace of the calling thread, which must be in a runtime. Changes made through the
    /// socket with port `own` are passed over.
    pub fn open(own: u32) -> Result<Self> {
        let failed = |attempt| move |source| Error::Netlink { attempt, source };
        let mut socket =
            TokioSocket::new(NETLINK_NETFILTER).map_err(failed("opening a socket to listen"))?;
        let inner = socket.socket_mut();
        inner
            .bind(&SocketAddr::new(0, 0))
            .map_err(failed("binding"))?;
        // Without the right to exceed the system's limit, that limit it is.
        let _ = setsockopt(&inner.as_fd(), sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&inner.as_fd(), sockopt::RcvBuf, &BUFFER));
        inner
            .add_membership(NFNLGRP_NFTABLES)
            .map_err(failed("subscribing to changes of nf_tables"))?;
        Ok(Self { socket, own })
    }

    /// Returns once somebody else has changed our table, or may have: notifications can get lost in a flood. May be
    /// dropped at any time without missing a change.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((bytes, _))
                    if answers(&bytes)
                        .iter()
                        .any(|told| is_foreign(told, self.own)) =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => return Ok(()),
                Err(source) => {
                    let attempt = "listening to changes of nf_tables";
                    return Err(Error::Netlink { attempt, source });
                }
            }
        }
    }
}

/// Whether a notification tells of a change of our table that isn't our own. Their first attribute is the table's
/// name, but for the one that ends a transaction.
fn is_foreign(told: &Answer, own: u32) -> bool {
    let generation = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;
    told.port != own
        && told.kind != generation
        && attribute::text(told.attributes(), NFTA_TABLE) == Some(TABLE)
}
