//! Keeps the addresses of the upstreams up to date.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    net::lookup_host,
    sync::watch,
    time::{sleep, timeout},
};

use super::Shared;

/// A resolver that doesn't answer in time counts as failed.
const LOOKUP: Duration = Duration::from_secs(2);

/// Resolves all upstreams now, every `interval`, when the list changes and when a connection failed.
pub(super) async fn follow(
    mut upstreams: watch::Receiver<Vec<String>>,
    shared: Shared,
    interval: Duration,
) {
    let mut known: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    let mut followed = true;
    loop {
        let names = upstreams.borrow_and_update().clone();
        known.retain(|name, _| names.contains(name));
        let answers = names
            .iter()
            .map(|name| async move { (name, lookup(name).await) });
        for (name, answer) in futures::future::join_all(answers).await {
            match answer {
                Ok(addresses) => {
                    known.insert(name.clone(), addresses);
                }
                // What was known of it stays: a resolver that is away must not take the upstream with it.
                Err(error) => tracing::debug!(upstream = name, error, "resolving"),
            }
        }
        shared.set(&known.values().flatten().copied().collect());
        tokio::select! {
            () = sleep(interval) => {}
            changed = upstreams.changed(), if followed => followed = changed.is_ok(),
            // Not more often than this, however many connections fail.
            () = async { shared.stale.notified().await; sleep(interval / 10).await } => {}
        }
    }
}

async fn lookup(upstream: &str) -> Result<Vec<SocketAddr>, String> {
    match timeout(LOOKUP, lookup_host(upstream)).await {
        Err(_) => Err(format!("no answer within {LOOKUP:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() {
                Err("no addresses".to_owned())
            } else {
                Ok(addresses)
            }
        }
    }
}
