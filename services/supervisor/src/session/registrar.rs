//! Keeps in the datastore which nodes have a session with this replica, so that the others know whom to relay to.

use super::hub::Hub;
use crate::store::{Datastore, SessionRecord, keys, to_json};
use sextant_kit::Drain;
use sextant_kit::backoff::Backoff;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Writes each session under the replica's lease when it opens, deletes it when it ends, and writes all of them
/// again under a new lease. A failed write is tried again.
pub async fn run(
    hub: Hub,
    store: Datastore,
    mut lease: watch::Receiver<Option<i64>>,
    replica: String,
    address: String,
    drain: Drain,
) {
    let mut live = hub.watch();
    let mut written: BTreeMap<String, SessionRecord> = BTreeMap::new();
    let mut under = None;
    let mut backoff = Backoff::default();
    while !drain.is_draining() {
        let current = *lease.borrow_and_update();
        if under != current {
            // The keys of the old lease go with it.
            written.clear();
            under = current;
        }
        let wanted: BTreeMap<_, _> = live
            .borrow_and_update()
            .iter()
            .map(|(node, live)| {
                let record = SessionRecord {
                    address: address.clone(),
                    since_unix: live.since_unix,
                };
                (node.clone(), record)
            })
            .collect();
        let done = match current {
            Some(id) => write(&store, id, &replica, &wanted, &mut written).await,
            None => true,
        };
        let pause = if done {
            backoff.reset();
            None
        } else {
            Some(backoff.next())
        };
        tokio::select! {
            () = drain.signaled() => {}
            _ = live.changed() => {}
            _ = lease.changed() => {}
            () = async { match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
}

/// Brings the datastore from `written` to `wanted`; `false` when something is left to do.
async fn write(
    store: &Datastore,
    lease: i64,
    replica: &str,
    wanted: &BTreeMap<String, SessionRecord>,
    written: &mut BTreeMap<String, SessionRecord>,
) -> bool {
    let ended: Vec<String> = written
        .keys()
        .filter(|node| !wanted.contains_key(*node))
        .cloned()
        .collect();
    for node in ended {
        match store.delete(&keys::session(&node, replica)).await {
            Ok(()) => written.remove(&node),
            Err(error) => return failed(&node, &error),
        };
    }
    for (node, record) in wanted {
        if written.get(node) == Some(record) {
            continue;
        }
        let key = keys::session(node, replica);
        match store.put(&key, to_json(record), Some(lease)).await {
            Ok(()) => written.insert(node.clone(), record.clone()),
            Err(error) => return failed(node, &error),
        };
    }
    true
}

fn failed(node: &str, error: &crate::error::Error) -> bool {
    tracing::warn!(node, %error, "other supervisors don't know this session yet; trying again");
    false
}
