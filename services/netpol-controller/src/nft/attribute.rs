//! Netlink attributes: a writer that nests, and a reader over `netlink-packet-core`'s iterator.

use netlink_packet_core::{NLA_F_NESTED, NLA_HEADER_SIZE, NlaBuffer, NlasIterator};

/// Attributes being written.
#[derive(Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends to what `bytes` holds.
    pub fn after(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Bytes written so far.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// An attribute with a raw value.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start);
    }

    /// A number in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A string, NUL-terminated.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.close(start);
    }

    /// An attribute that holds others.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NLA_F_NESTED);
        write(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        // Callers keep attributes below 64 KiB by cutting element lists.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0
            .resize(self.0.len().next_multiple_of(NLA_HEADER_SIZE), 0);
    }
}

/// Attributes being read: kind and value, in order. What can't be read ends the list.
pub fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(|attribute: NlaBuffer<&[u8]>| {
            let end = usize::from(attribute.length());
            let raw: &[u8] = attribute.into_inner();
            let kind = u16::from_ne_bytes([raw[2], raw[3]]) & netlink_packet_core::NLA_TYPE_MASK;
            (kind, &raw[NLA_HEADER_SIZE..end])
        })
}

/// The value of the first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    each(bytes)
        .find(|(other, _)| *other == kind)
        .map(|(_, value)| value)
}

/// A number in network byte order.
pub fn be32(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// A long number in network byte order.
pub fn be64(bytes: &[u8], kind: u16) -> Option<u64> {
    find(bytes, kind)?.try_into().ok().map(u64::from_be_bytes)
}

/// A string, with or without its NUL.
pub fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    let value = find(bytes, kind)?;
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}
