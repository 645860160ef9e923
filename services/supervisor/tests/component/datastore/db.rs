//! Keys, leases and what happened to them.

use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, ResponseHeader};
use sextant_proto::etcd::mvccpb::{Event, KeyValue, event::EventType};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
pub struct Db {
    pub revision: i64,
    pub keys: BTreeMap<Bytes, KeyValue>,
    pub leases: HashMap<i64, (Duration, Instant)>,
    pub events: Vec<(i64, Event)>,
}

impl Db {
    pub fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.revision,
            ..ResponseHeader::default()
        })
    }

    pub fn within(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
        if end.is_empty() {
            key == start
        } else {
            key >= start && key < end
        }
    }

    pub fn put(&mut self, request: PutRequest) {
        let old = self.keys.get(&request.key);
        let kv = KeyValue {
            create_revision: old.map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: old.map_or(1, |kv| kv.version + 1),
            key: request.key.clone(),
            value: request.value,
            lease: request.lease,
        };
        self.keys.insert(request.key, kv.clone());
        let event = Event {
            r#type: EventType::Put.into(),
            kv: Some(kv),
            prev_kv: None,
        };
        self.events.push((self.revision, event));
    }

    pub fn range(&self, request: &RangeRequest) -> RangeResponse {
        let kvs: Vec<_> = self
            .keys
            .values()
            .filter(|kv| Self::within(&kv.key, &request.key, &request.range_end))
            .cloned()
            .collect();
        RangeResponse {
            header: self.header(),
            count: kvs.len() as i64,
            kvs,
            ..RangeResponse::default()
        }
    }

    pub fn delete(&mut self, keys: Vec<Bytes>) {
        for key in keys {
            if self.keys.remove(&key).is_some() {
                let kv = KeyValue {
                    key,
                    mod_revision: self.revision,
                    ..KeyValue::default()
                };
                let event = Event {
                    r#type: EventType::Delete.into(),
                    kv: Some(kv),
                    prev_kv: None,
                };
                self.events.push((self.revision, event));
            }
        }
    }

    pub fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
        let keys = self
            .keys
            .values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect();
        self.revision += 1;
        self.delete(keys);
    }
}
