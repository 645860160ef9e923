//! Keeps the cluster's own objects as they are wanted, and removes those that are no longer.

use super::manifests::{Phase, manifests};
use super::objects::{ObjectId, apply, delete};
use super::{rights, serving};
use crate::certificates::Issuer;
use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use crate::store::{Datastore, keys, to_json};
use kube::Client;
use kube::api::DynamicObject;
use sextant_identity::TrustBundle;
use sextant_kit::backoff::Backoff;
use sextant_kit::telemetry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often everything is applied again, to undo what others changed. Unchanged objects cost no write.
const REPAIR: Duration = Duration::from_secs(120);

type Inventory = BTreeSet<ObjectId>;

/// The add-ons, and what they are kept with.
pub struct Addons<'a> {
    /// Of kube-apiserver.
    pub client: Client,
    /// What is wanted.
    pub cluster: &'a ClusterConfig,
    /// Has metrics-server's certificate signed.
    pub issuer: &'a Issuer,
    /// The anchors by which that is verified.
    pub trust: watch::Receiver<Arc<TrustBundle>>,
    /// Where is noted what was made.
    pub store: &'a Datastore,
}

/// The wanted objects.
struct Wanted {
    rights: Vec<DynamicObject>,
    rest: Vec<DynamicObject>,
    served: Vec<DynamicObject>,
}

impl Addons<'_> {
    /// Applies and prunes, again and again. Never ends; the leader drops it.
    pub async fn keep(mut self) {
        let mut backoff = Backoff::default();
        let mut first = true;
        loop {
            let trust = self.trust.borrow_and_update().clone();
            let span = tracing::info_span!("addons.apply");
            match telemetry::traced(span, self.reconcile(&trust)).await {
                Ok(served) => {
                    if std::mem::take(&mut first) {
                        tracing::info!("add-ons applied");
                    }
                    backoff.reset();
                    let mut changes = self.trust.clone();
                    tokio::select! {
                        () = tokio::time::sleep(REPAIR) => {}
                        Ok(()) = changes.changed() => {}
                        () = self.publish(&served) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "add-ons not applied yet");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Returns what is to be applied once it is served.
    async fn reconcile(&self, trust: &TrustBundle) -> Result<Vec<DynamicObject>, Error> {
        let objects = Wanted {
            rights: manifests(self.cluster, trust, Phase::Rights)?,
            rest: manifests(self.cluster, trust, Phase::Rest)?,
            served: manifests(self.cluster, trust, Phase::Served)?,
        };
        let wanted = self.inventory_of(&objects);
        let known = inventory(self.store).await?;
        // Noted before anything is made, so that nothing we made is ever forgotten.
        let all: Inventory = known.union(&wanted).cloned().collect();
        if all != known {
            write(self.store, &all).await?;
        }
        self.apply_all(&objects, trust).await?;
        for id in all.difference(&wanted) {
            delete(&self.client, id).await?;
            tracing::info!(object = %id, "removed: it is no longer wanted");
        }
        if all != wanted {
            write(self.store, &wanted).await?;
        }
        Ok(objects.served)
    }

    fn inventory_of(&self, objects: &Wanted) -> Inventory {
        let certificate = self.cluster.addons.metrics_server.then(serving::id);
        let Wanted {
            rights,
            rest,
            served,
        } = objects;
        let templates = rights.iter().chain(rest).chain(served);
        templates
            .filter_map(ObjectId::of)
            .chain(certificate)
            .collect()
    }

    async fn apply_all(&self, objects: &Wanted, trust: &TrustBundle) -> Result<(), Error> {
        // One object that is refused doesn't keep the others back.
        let mut failed = None;
        for object in &objects.rights {
            if let Err(error) = rights::keep(&self.client, object).await {
                failed.get_or_insert(error);
            }
        }
        if let Some(error) = failed {
            // Without our own rights nothing else can work; kube-apiserver needs a moment to see new ones.
            return Err(error);
        }
        let mut failed = None;
        for object in &objects.rest {
            if let Err(error) = apply(&self.client, object).await {
                failed.get_or_insert(error);
            }
        }
        if self.cluster.addons.metrics_server
            && let Err(error) = self.certify(trust).await
        {
            failed.get_or_insert(error);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn certify(&self, trust: &TrustBundle) -> Result<(), Error> {
        let secret = serving::secret(&self.client, self.issuer, trust).await?;
        apply(&self.client, &secret).await
    }

    /// Applies what somebody has to serve, once somebody does. Never ends.
    async fn publish(&self, objects: &[DynamicObject]) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
        for object in objects {
            while !serving::answers(&self.client).await {
                tokio::time::sleep(backoff.next()).await;
            }
            while let Err(error) = apply(&self.client, object).await {
                tracing::warn!(%error, "add-ons not applied yet");
                tokio::time::sleep(backoff.next()).await;
            }
        }
        futures::future::pending().await
    }
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
