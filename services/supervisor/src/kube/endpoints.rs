//! The endpoints of the Service `default/kubernetes`: the one address on which every node offers the API.

use super::objects::apply;
use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, watcher};
use serde_json::json;
use sextant_kit::backoff::Backoff;
use sextant_kit::telemetry;
use std::time::Duration;

/// Looked at again even if no event came.
const REPAIR: Duration = Duration::from_secs(60);

/// Keeps both objects as they must be. Never ends; the leader drops it.
pub async fn run(client: Client, cluster: &ClusterConfig) {
    let only = || watcher::Config::default().fields("metadata.name=kubernetes");
    let endpoints = watcher(
        Api::<Endpoints>::namespaced(client.clone(), "default"),
        only(),
    );
    let slices = watcher(
        Api::<EndpointSlice>::namespaced(client.clone(), "default"),
        only(),
    );
    let mut changes = futures::stream::select(
        endpoints.map(|event| event.map(drop)).boxed(),
        slices.map(|event| event.map(drop)).boxed(),
    );
    let mut backoff = Backoff::default();
    loop {
        match reconcile(&client, cluster).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::warn!(%error, "endpoints of default/kubernetes not applied yet");
                tokio::time::sleep(backoff.next()).await;
                continue;
            }
        }
        // An error of a watch is its own to retry; it must not make us spin.
        match tokio::time::timeout(REPAIR, changes.next()).await {
            Ok(Some(Ok(()))) | Err(_) => {}
            Ok(Some(Err(_)) | None) => tokio::time::sleep(backoff.next()).await,
        }
    }
}

async fn reconcile(client: &Client, cluster: &ClusterConfig) -> Result<(), Error> {
    let apply_all = async {
        for object in objects(cluster)? {
            apply(client, &object).await?;
        }
        Ok(())
    };
    telemetry::traced(tracing::info_span!("endpoints.apply"), apply_all).await
}

fn objects(cluster: &ClusterConfig) -> Result<Vec<DynamicObject>, Error> {
    let address = cluster.api.node_address;
    let port = cluster.api.port;
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    [endpoints, slice]
        .into_iter()
        .map(|value| {
            serde_json::from_value(value).map_err(|error| Error::Addon {
                name: "endpoints of default/kubernetes",
                message: error.to_string(),
            })
        })
        .collect()
}
