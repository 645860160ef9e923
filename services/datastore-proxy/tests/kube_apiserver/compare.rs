//! What a kube-apiserver has in its cache, what clients know, and what is in the store.

use crate::load::{Kind, Known, NAMESPACE, revision};
use crate::support::{Clients, list};
use kube::api::ListParams;
use sextant_proto::etcd::etcdserverpb as pb;
use std::collections::BTreeMap;

/// Keys and their revisions.
type Revisions = BTreeMap<String, i64>;

async fn stored(kind: &Kind, store: &mut Clients, revision: i64) -> Revisions {
    let request = pb::RangeRequest {
        keys_only: true,
        revision,
        ..list(kind.prefix)
    };
    let answer = store.kv.range(request).await.unwrap().into_inner();
    let entry = |kv: sextant_proto::etcd::mvccpb::KeyValue| {
        let key = String::from_utf8(kv.key.into()).unwrap();
        (key, kv.mod_revision)
    };
    answer.kvs.into_iter().map(entry).collect()
}

/// What a server lists is what was stored at the revision that it names: from its cache as it is, and from a cache
/// that is as new as the store.
pub async fn cache_with_store(kind: &Kind, client: &kube::Client, store: &mut Clients) {
    for params in [ListParams::default().at("0"), ListParams::default()] {
        let cached = kind.all(client).list(&params).await.unwrap();
        let version = cached.metadata.resource_version.as_ref().unwrap();
        let stored = stored(kind, store, version.parse().unwrap()).await;
        let key = |item: &kube::api::DynamicObject| {
            let (namespace, name) = (&item.metadata.namespace, &item.metadata.name);
            let (namespace, name) = (namespace.as_ref().unwrap(), name.as_ref().unwrap());
            format!("{}{namespace}/{name}", kind.prefix)
        };
        let items = cached.items.iter();
        let cached: Revisions = items.map(|item| (key(item), revision(item))).collect();
        assert_eq!(cached, stored, "{} at revision {version}", kind.plural);
    }
}

/// What was acknowledged is stored, and nothing else under these names.
pub async fn known_with_store(kind: &Kind, known: &Known, store: &mut Clients) {
    let stored = stored(kind, store, 0).await;
    for (name, revision) in known {
        let key = format!("{}{NAMESPACE}/{name}", kind.prefix);
        assert_eq!(stored.get(&key), revision.as_ref(), "{key}");
    }
}

/// How often a server compared its caches with the store itself; it never found a difference.
pub async fn own_checks(client: &kube::Client) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = client.request_text(request).await.unwrap();
    let mut passed = 0;
    for line in metrics.lines() {
        let Some((labels, count)) = line.rsplit_once(' ') else {
            continue;
        };
        if labels.starts_with("apiserver_storage_consistency_checks_total{") {
            assert!(!labels.contains("\"failure\""), "{line}");
            if labels.contains("\"success\"") {
                passed += count.parse::<u64>().unwrap();
            }
        }
    }
    passed
}
