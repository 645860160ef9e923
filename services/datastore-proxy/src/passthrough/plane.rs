//! The keys of one control plane among those of an etcd: under its prefix there, without it here.

use crate::domain::range::KeyRange;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::response_op::Response;
use sextant_proto::etcd::mvccpb::KeyValue;

/// A control plane's part of an etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    prefix: Bytes,
}

impl Plane {
    /// The plane whose keys begin with `prefix`; with an empty one the whole etcd is its own.
    pub fn new(prefix: Bytes) -> Self {
        Self { prefix }
    }

    /// What its keys begin with in the etcd.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// Whether other planes may live in the same etcd.
    pub fn is_shared(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// A key as the etcd knows it.
    pub fn key(&self, key: &[u8]) -> Bytes {
        [self.prefix.as_ref(), key].concat().into()
    }

    /// A range as the etcd knows it: never beyond the plane's own keys.
    pub fn range(&self, range: &KeyRange) -> KeyRange {
        if !self.is_shared() {
            return range.clone();
        }
        let start = self.key(range.start());
        match range.end() {
            Some(end) => KeyRange::between(start, self.key(end)),
            None => KeyRange::below(self.prefix.clone()).from_key(start),
        }
    }

    /// A key of the etcd as this plane knows it, `None` if it is none of its keys.
    pub fn strip(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.prefix)
            .then(|| key.slice(self.prefix.len()..))
    }

    /// Makes keys of an answer those of the plane.
    pub fn localize(&self, kvs: &mut [KeyValue]) {
        if !self.is_shared() {
            return;
        }
        for kv in kvs {
            if let Some(key) = self.strip(&kv.key) {
                kv.key = key;
            }
        }
    }

    /// [`localize`](Self::localize) for the answer of a transaction, nested ones included.
    pub fn localize_txn(&self, answer: &mut pb::TxnResponse) {
        for op in &mut answer.responses {
            match &mut op.response {
                Some(Response::ResponseDeleteRange(answer)) => self.localize(&mut answer.prev_kvs),
                Some(Response::ResponsePut(answer)) => {
                    self.localize(answer.prev_kv.as_mut_slice());
                }
                Some(Response::ResponseRange(answer)) => self.localize(&mut answer.kvs),
                Some(Response::ResponseTxn(answer)) => self.localize_txn(answer),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(b'/'), Just(b'a'), Just(b'b'), Just(0xff)];
        prop::collection::vec(byte, 1..4)
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        (key(), prop_oneof![key(), Just(Vec::new()), Just(vec![0])])
            .prop_map(|(key, end)| KeyRange::parse(key.into(), end.into()))
    }

    proptest! {
        /// Model: an etcd is an ordered set; a plane sees of it what it would see in an etcd of its own.
        #[test]
        fn a_plane_sees_what_it_would_see_alone(
            own in prop::collection::btree_set(key(), 0..12),
            others in prop::collection::btree_set(key(), 0..12),
            range in range(),
        ) {
            let plane = Plane::new("/a/".into());
            let mut etcd: BTreeSet<Bytes> = own.iter().map(|key| plane.key(key)).collect();
            for prefix in ["/a", "/a0", "/ab/", "/", ""] {
                let foreign = others.iter().map(|key| [prefix.as_bytes(), key].concat().into());
                etcd.extend(foreign.filter(|key: &Bytes| !key.starts_with(b"/a/")));
            }
            let (wire_key, wire_end) = plane.range(&range).to_wire();
            let there = KeyRange::parse(wire_key, wire_end);
            let found: Option<Vec<Bytes>> = etcd
                .iter()
                .filter(|key| there.contains(key))
                .map(|key| plane.strip(key))
                .collect();
            let expected: Vec<Bytes> = own
                .iter()
                .filter(|key| range.contains(key))
                .map(|key| Bytes::copy_from_slice(key))
                .collect();
            prop_assert_eq!(found, Some(expected));
        }

        #[test]
        fn without_a_prefix_nothing_changes(range in range(), key in key()) {
            let plane = Plane::new(Bytes::new());
            prop_assert_eq!(plane.range(&range), range);
            prop_assert_eq!(plane.strip(&plane.key(&key)), Some(key.into()));
        }
    }
}
