//! All processes of a service.

use super::{AT_ONCE, NETPOL, NODE_AGENT, Nodes, Replicas};
use futures::StreamExt;
use futures::stream;
use sextant_kit::telemetry::{AUDIT, check};
use sextant_proto::supervisor::{
    ChangeTelemetryRequest, ChangeTelemetryResponse, ReplicaTelemetry,
};
use sextant_proto::telemetry::{ChangeRequest, Settings};
use tonic::Status;

/// Asks every process of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Everywhere {
    /// Parts of the control plane.
    pub replicas: Replicas,
    /// What runs on nodes.
    pub nodes: Nodes,
    /// Whether netpol-controller does.
    pub has_network_policy: bool,
}

impl Everywhere {
    /// Makes a change in every process of a service, and tells how it went in each.
    ///
    /// # Errors
    /// A change that no process would make, and a service that there isn't.
    pub async fn change(
        &self,
        wanted: ChangeTelemetryRequest,
    ) -> Result<ChangeTelemetryResponse, Status> {
        let ChangeTelemetryRequest { service, change } = wanted;
        let change = change.unwrap_or_default();
        let is_change = change != ChangeRequest::default();
        check(&change).map_err(Status::invalid_argument)?;
        if is_change && service.is_empty() {
            return Err(Status::invalid_argument("a change needs a service's name"));
        }
        if is_change {
            // Before it is made: the process that makes it may be this one.
            tracing::info!(target: AUDIT, service, ?change, "an administrator changes telemetry");
        }
        let meant = |known: &&str| service.is_empty() || *known == service;
        let meant: Vec<_> = self.services().filter(meant).collect();
        if meant.is_empty() {
            let known: Vec<_> = self.services().collect();
            return Err(Status::not_found(format!(
                "there is no service `{service}`; there are {}",
                known.join(", ")
            )));
        }
        let asked = meant.iter().map(|known| self.change_one(known, &change));
        let replicas = futures::future::join_all(asked).await.concat();
        if is_change {
            let failed = replicas.iter().filter(|one| !one.error.is_empty()).count();
            tracing::info!(target: AUDIT, service, asked = replicas.len(), failed, "telemetry was changed");
        }
        Ok(ChangeTelemetryResponse { replicas })
    }

    fn services(&self) -> impl Iterator<Item = &str> {
        let of_nodes = [Some(NODE_AGENT), self.has_network_policy.then_some(NETPOL)];
        self.replicas.names().chain(of_nodes.into_iter().flatten())
    }

    async fn change_one(&self, service: &str, change: &ChangeRequest) -> Vec<ReplicaTelemetry> {
        if matches!(service, NODE_AGENT | NETPOL) {
            let asked = self.nodes.names().into_iter().map(|node| async move {
                let outcome = self.nodes.change(&node, service, change).await;
                told(service, node, outcome.map_err(|s| s.message().to_owned()))
            });
            return stream::iter(asked).buffered(AT_ONCE).collect().await;
        }
        let found = self.replicas.find(service).await;
        let asked = found.into_iter().map(|(place, found)| async move {
            let outcome = match found {
                Ok(replica) => self.replicas.change(&replica, change).await,
                Err(reason) => Err(reason),
            };
            told(service, place, outcome)
        });
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }
}

fn told(service: &str, place: String, outcome: Result<Settings, String>) -> ReplicaTelemetry {
    let (settings, error) = match outcome {
        Ok(settings) => (Some(settings), String::new()),
        Err(error) => (None, error),
    };
    ReplicaTelemetry {
        service: service.to_owned(),
        place,
        settings,
        error,
    }
}
