//! How many packets the table has denied, read from the kernel when the metrics are.

use super::attribute::{be64, each, find, text};
use super::consts::*;
use super::message::Message;
use super::socket::NetfilterSocket;
use crate::domain::frame::Denial;
use crate::domain::ruleset::TABLE;
use crate::error::Result;
use netlink_packet_core::NLM_F_DUMP;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Reads the counters of the chains that deny.
pub struct Denied {
    socket: Mutex<NetfilterSocket>,
}

impl Denied {
    /// Reads in the network namespace of the calling thread.
    pub fn open() -> Result<Self> {
        Ok(Self {
            socket: Mutex::new(NetfilterSocket::open()?),
        })
    }

    /// Packets denied for this reason since the table was made; `None` while there is no table.
    fn packets(&self, denial: Denial) -> Result<Option<u64>> {
        let chain = denial.chain();
        let question = Message::inet(NFT_MSG_GETRULE, NLM_F_DUMP, |a| {
            a.text(NFTA_RULE_TABLE, TABLE);
            a.text(NFTA_RULE_CHAIN, &chain);
        });
        let mut packets = None;
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.dump("reading a counter", question, |rule| {
            // Older kernels don't filter.
            if text(rule, NFTA_RULE_CHAIN) == Some(&*chain)
                && text(rule, NFTA_RULE_TABLE) == Some(TABLE)
            {
                packets = packets.or_else(|| counted(rule));
            }
        })?;
        Ok(packets)
    }
}

/// What the rule's counter holds.
fn counted(rule: &[u8]) -> Option<u64> {
    let expressions = each(find(rule, NFTA_RULE_EXPRESSIONS)?);
    let mut counters = expressions
        .map(|(_, expression)| expression)
        .filter(|expression| text(expression, NFTA_EXPR_NAME) == Some("counter"));
    be64(
        find(counters.next()?, NFTA_EXPR_DATA)?,
        NFTA_COUNTER_PACKETS,
    )
}

impl Collector for Denied {
    // Blocks for the microseconds that the kernel takes to read one rule; it waits for no transaction.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "denied_packets",
            "Packets denied, by what denied them",
            None,
            MetricType::Counter,
        )?;
        for denial in Denial::ALL {
            match self.packets(denial) {
                Ok(Some(packets)) => family
                    .encode_family(&[("by", denial.name())])?
                    .encode_counter::<NoLabelSet, u64, f64>(&packets, None)?,
                Ok(None) => {}
                // The other metrics are told all the same.
                Err(error) => tracing::debug!(%error, "denied packets aren't told"),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied").finish_non_exhaustive()
    }
}
