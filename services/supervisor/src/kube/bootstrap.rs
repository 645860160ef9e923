//! The first minutes of a cluster: rights by a certificate of `system:masters`, which is then closed for good.

use super::client;
use super::manifests::{Phase, manifests};
use super::rights;
use crate::certificates::Issuer;
use crate::domain::cluster::ClusterConfig;
use crate::error::{Error, within};
use crate::store::{Datastore, keys};
use sextant_identity::Mesh;
use sextant_kit::backoff::Backoff;
use sextant_proto::certauthority::{CompleteBootstrapRequest, Profile};
use std::time::Duration;
use tonic::Code;

/// Makes sure that RBAC stands and the bootstrap profile is closed. Repeats until it does.
pub async fn run(cluster: &ClusterConfig, mesh: &Mesh, issuer: &Issuer, store: &Datastore) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        match attempt(cluster, mesh, issuer, store).await {
            Ok(()) => return,
            Err(error) => tracing::info!(%error, "bootstrap goes on"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn attempt(
    cluster: &ClusterConfig,
    mesh: &Mesh,
    issuer: &Issuer,
    store: &Datastore,
) -> Result<(), Error> {
    if store.get(keys::BOOTSTRAP).await?.is_some() {
        return Ok(());
    }
    match issuer.credentials(Profile::SupervisorBootstrap).await {
        Ok(credentials) => {
            let trust = mesh.trust().borrow().clone();
            let client = client::connect(cluster, &credentials, &trust)?;
            for object in manifests(cluster, &trust, Phase::Rights)? {
                rights::keep(&client, &object).await?;
            }
            complete(mesh).await?;
            tracing::info!("RBAC stands, the bootstrap profile is closed");
        }
        // Another supervisor, or this one before a crash, came as far as closing it.
        Err(Error::Peer { status, .. })
            if matches!(
                status.code(),
                Code::PermissionDenied | Code::FailedPrecondition
            ) =>
        {
            tracing::info!("the bootstrap profile is closed already");
        }
        Err(error) => return Err(error),
    }
    store
        .put(keys::BOOTSTRAP, b"completed".to_vec(), None)
        .await
}

async fn complete(mesh: &Mesh) -> Result<(), Error> {
    let what = "cert-authority: completing the bootstrap";
    let mut client = mesh.cert_authority();
    within(what, Duration::from_secs(10), async {
        client
            .complete_bootstrap(CompleteBootstrapRequest {})
            .await
            .map_err(|status| Error::peer(what, status))
    })
    .await
    .map(|_| ())
}
