//! HashKV: a checksum over every version that is still held, as etcd computes it (CRC-32C over the entries of its
//! bucket "key"), so that a store can be compared with an etcd that was told the same.

use super::version::{Row, Version};
use bytes::Bytes;
use sextant_proto::etcd::mvccpb::KeyValue;

/// The name of etcd's bucket, which it hashes first.
const BUCKET: &[u8] = b"key";

/// A checksum in the making. Writes are added in the order of their rows.
#[derive(Debug)]
pub struct Digest {
    crc: u32,
    compacted: i64,
    revision: i64,
    /// Whether any key exists at `revision`: if none does, etcd leaves nothing out.
    any_live: bool,
    /// The revision that is being added, and its first row.
    current: (i64, Row),
}

impl Digest {
    /// Begins one of everything up to `revision`, in a store compacted at `compacted`.
    pub fn new(compacted: i64, revision: i64, any_live: bool) -> Self {
        Self {
            crc: crc32c::crc32c(BUCKET),
            compacted,
            revision,
            any_live,
            current: (0, 0),
        }
    }

    /// Adds a write. `live` tells whether it is what its key holds at the revision of the digest.
    ///
    /// Within a revision etcd numbers the writes. So do rows, up to the first row that is left of a revision: where
    /// a compaction has removed the first writes of a transaction, the numbers of the others are lost.
    pub fn add(&mut self, key: &Bytes, version: &Version, value: &Bytes, live: bool) {
        let revision = version.mod_revision;
        if self.current.0 != revision {
            self.current = (revision, version.row);
        }
        let is_tombstone = version.is_tombstone();
        // What a compaction drops is left out whether or not it is gone already.
        let dropped = revision <= self.compacted && self.any_live && !live;
        if revision > self.revision || dropped || revision == self.compacted && is_tombstone {
            return;
        }
        self.write(&bucket_key(
            revision,
            version.row - self.current.1,
            is_tombstone,
        ));
        self.write(&prost::Message::encode_to_vec(&record(key, version, value)));
    }

    /// Adds other bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    /// The checksum.
    pub fn finish(&self) -> u32 {
        self.crc
    }
}

fn record(key: &Bytes, version: &Version, value: &Bytes) -> KeyValue {
    if version.is_tombstone() {
        return KeyValue {
            key: key.clone(),
            ..KeyValue::default()
        };
    }
    KeyValue {
        key: key.clone(),
        create_revision: version.create_revision,
        mod_revision: version.mod_revision,
        version: version.version,
        value: value.clone(),
        lease: version.lease,
    }
}

fn bucket_key(revision: i64, sub: i64, is_tombstone: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&revision.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&sub.to_be_bytes());
    if is_tombstone {
        key.push(b't');
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(row: Row, revision: i64) -> Version {
        Version {
            row,
            mod_revision: revision,
            create_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn digest(compacted: i64, writes: &[(Version, bool)]) -> u32 {
        let mut digest = Digest::new(compacted, 100, true);
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        writes
            .iter()
            .for_each(|(version, live)| digest.add(&key, version, &value, *live));
        digest.finish()
    }

    #[test]
    fn what_a_compaction_drops_is_left_out() {
        let kept = [(put(2, 3), true)];
        let with_garbage = [(put(1, 2), false), (put(2, 3), true)];
        assert_eq!(digest(3, &with_garbage), digest(3, &kept));
        assert_ne!(digest(1, &with_garbage), digest(1, &kept));
    }

    #[test]
    fn the_place_within_a_revision_counts() {
        let one = [(put(1, 2), true), (put(2, 2), true)];
        let two = [(put(1, 2), true), (put(2, 3), true)];
        assert_ne!(digest(-1, &one), digest(-1, &two));
    }
}
