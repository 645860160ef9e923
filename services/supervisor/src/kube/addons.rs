//! Keeps the cluster's own objects as they are wanted, and removes those that are no longer.

use super::manifests::{Phase, manifests};
use super::objects::{ObjectId, apply, delete};
use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use crate::store::{Datastore, keys, to_json};
use kube::Client;
use sextant_kit::backoff::Backoff;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often everything is applied again, to undo what others changed. Unchanged objects cost no write.
const REPAIR: Duration = Duration::from_secs(120);

type Inventory = BTreeSet<ObjectId>;

/// Applies and prunes, again and again. Never ends; the leader drops it.
pub async fn run(client: Client, cluster: &ClusterConfig, store: Datastore) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        match reconcile(&client, cluster, &store).await {
            Ok(()) => {
                if std::mem::take(&mut first) {
                    tracing::info!("add-ons applied");
                }
                backoff.reset();
                tokio::time::sleep(REPAIR).await;
            }
            Err(error) => {
                tracing::warn!(%error, "add-ons not applied yet");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

async fn reconcile(
    client: &Client,
    cluster: &ClusterConfig,
    store: &Datastore,
) -> Result<(), Error> {
    let rights = manifests(cluster, Phase::Rights)?;
    let rest = manifests(cluster, Phase::Rest)?;
    let wanted: Inventory = rights
        .iter()
        .chain(&rest)
        .filter_map(ObjectId::of)
        .collect();
    let known = inventory(store).await?;
    // Noted before anything is made, so that nothing we made is ever forgotten.
    let all: Inventory = known.union(&wanted).cloned().collect();
    if all != known {
        write(store, &all).await?;
    }
    // Without our own rights nothing else can work; kube-apiserver needs a moment to see new ones.
    for object in &rights {
        apply(client, object).await?;
    }
    let mut failed = None;
    for object in &rest {
        // One object that is refused doesn't keep the others back.
        if let Err(error) = apply(client, object).await {
            failed.get_or_insert(error);
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    for id in all.difference(&wanted) {
        delete(client, id).await?;
        tracing::info!(object = %id, "removed: it is no longer wanted");
    }
    if all != wanted {
        write(store, &wanted).await?;
    }
    Ok(())
}

async fn inventory(store: &Datastore) -> Result<Inventory, Error> {
    let Some(found) = store.get(keys::INVENTORY).await? else {
        return Ok(Inventory::new());
    };
    serde_json::from_slice(&found.value).map_err(|error| Error::Record {
        key: keys::INVENTORY.into(),
        message: error.to_string(),
    })
}

async fn write(store: &Datastore, inventory: &Inventory) -> Result<(), Error> {
    store.put(keys::INVENTORY, to_json(inventory), None).await
}
