//! The store at every revision, computed from its log.

use bytes::Bytes;
use sextant_proto::etcd::mvccpb::event::EventType;
use sextant_proto::etcd::mvccpb::{Event, KeyValue};
use std::collections::BTreeMap;

pub(super) const FIRST_REVISION: i64 = 1;

pub(super) struct Model {
    pub(super) newest: i64,
    /// The events of each revision.
    pub(super) revisions: BTreeMap<i64, Vec<Event>>,
    /// The versions of each key, oldest first; a deletion has version 0.
    keys: BTreeMap<Bytes, Vec<KeyValue>>,
}

impl Model {
    /// Runs the log, and tells where it is none.
    pub(super) fn of(log: &[Event], found: &mut Vec<String>) -> Self {
        let mut model = Self {
            newest: FIRST_REVISION,
            revisions: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        for event in log {
            let Some(kv) = &event.kv else {
                found.push("log: an event without a key".to_owned());
                continue;
            };
            let revision = kv.mod_revision;
            if revision != model.newest && revision != model.newest + 1 {
                found.push(format!("log: revision {revision} after {}", model.newest));
            }
            model.newest = revision;
            let expected = model.next_version(event, kv);
            if *kv != expected {
                found.push(format!(
                    "log: revision {revision} says {kv:?}, expected {expected:?}"
                ));
            }
            model
                .keys
                .entry(kv.key.clone())
                .or_default()
                .push(kv.clone());
            model
                .revisions
                .entry(revision)
                .or_default()
                .push(event.clone());
        }
        model
    }

    fn next_version(&self, event: &Event, kv: &KeyValue) -> KeyValue {
        let before = self.at(&kv.key, kv.mod_revision - 1);
        let base = KeyValue {
            key: kv.key.clone(),
            mod_revision: kv.mod_revision,
            ..KeyValue::default()
        };
        if event.r#type() == EventType::Delete {
            return base;
        }
        KeyValue {
            create_revision: before.map_or(kv.mod_revision, |before| before.create_revision),
            version: before.map_or(0, |before| before.version) + 1,
            value: kv.value.clone(),
            ..base
        }
    }

    /// A key as of a revision.
    pub(super) fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let versions = self.keys.get(key)?;
        let newer = versions.partition_point(|kv| kv.mod_revision <= revision);
        versions
            .get(newer.checked_sub(1)?)
            .filter(|kv| kv.version > 0)
    }

    /// All keys that begin with `prefix` as of a revision.
    pub(super) fn list(&self, prefix: &str, revision: i64) -> Vec<KeyValue> {
        let keys = self.keys.keys();
        keys.filter(|key| key.starts_with(prefix.as_bytes()))
            .filter_map(|key| self.at(key, revision).cloned())
            .collect()
    }
}
