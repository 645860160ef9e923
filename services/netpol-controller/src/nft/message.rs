//! Netlink messages to netfilter, and batches of them.

use super::attribute::Attributes;
use super::consts::{
    NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFPROTO_INET,
};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};

/// Length of a netlink header and of netfilter's own after it.
pub const HEADER: usize = 16 + 4;

/// One message: type, flags and attributes; its sequence number is given when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message to a netfilter subsystem.
    pub fn new(
        subsystem: u16,
        operation: u16,
        flags: u16,
        family: u8,
        write: impl FnOnce(&mut Attributes),
    ) -> Self {
        Self::raw(subsystem << 8 | operation, flags, family, 0, write)
    }

    /// A message about nf_tables' `inet` family.
    pub fn inet(operation: u16, flags: u16, write: impl FnOnce(&mut Attributes)) -> Self {
        Self::new(NFNL_SUBSYS_NFTABLES, operation, flags, NFPROTO_INET, write)
    }

    fn raw(
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        write: impl FnOnce(&mut Attributes),
    ) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[family, 0]);
        bytes.extend_from_slice(&resource.to_be_bytes());
        let mut attributes = Attributes::after(bytes);
        write(&mut attributes);
        let mut bytes = attributes.into_bytes();
        // Messages are cut far below this.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        Self { bytes }
    }

    /// Its length.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes to send.
    pub fn into_bytes(self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.bytes;
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    /// The bytes after both headers.
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    fn acknowledged(mut self) -> Self {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | NLM_F_ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }
}

/// Messages that the kernel takes in as one transaction.
#[derive(Debug)]
pub struct Batch {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// Sequence number of its begin, to which errors of the whole transaction refer.
    pub first: u32,
    /// Sequence number of its last operation, the only one that is acknowledged.
    pub last: u32,
}

impl Batch {
    /// Puts messages between begin and end. With a generation, the kernel refuses the batch if anybody changed any
    /// table since that generation.
    pub fn new(messages: Vec<Message>, first: u32, generation: Option<u32>) -> Self {
        let begin = Message::raw(
            NFNL_MSG_BATCH_BEGIN,
            0,
            0,
            NFNL_SUBSYS_NFTABLES,
            |attributes| {
                if let Some(generation) = generation {
                    attributes.be32(NFNL_BATCH_GENID, generation);
                }
            },
        );
        let end = Message::raw(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, |_| {});
        let mut bytes = begin.into_bytes(first);
        let mut last = first;
        let count = messages.len();
        for (index, message) in messages.into_iter().enumerate() {
            last = last.wrapping_add(1);
            let message = if index + 1 == count {
                message.acknowledged()
            } else {
                message
            };
            bytes.extend(message.into_bytes(last));
        }
        bytes.extend(end.into_bytes(last.wrapping_add(1)));
        Self { bytes, first, last }
    }
}
