//! Parts of the control plane, each replica by its address.

use super::DEADLINE;
use crate::config::Part;
use sextant_identity::{Channel, Leaf, Mesh, Peer, ServiceName};
use sextant_proto::telemetry::telemetry_client::TelemetryClient;
use sextant_proto::telemetry::{ChangeRequest, Settings};
use std::net::SocketAddr;
use std::sync::Arc;

/// The way to every replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Replicas {
    parts: Arc<[Part]>,
    mesh: Mesh,
    /// datastore-proxy's listener is of the datastore authority.
    datastore: Option<Leaf>,
}

/// A replica, and the service that it has to prove to be one of.
#[derive(Debug)]
pub(super) struct Replica {
    service: ServiceName,
    address: SocketAddr,
}

impl Replicas {
    /// Of these parts.
    pub fn new(parts: &[Part], mesh: Mesh, datastore: Option<Leaf>) -> Self {
        Self {
            parts: parts.into(),
            mesh,
            datastore,
        }
    }

    /// Names of those that can be asked.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let asked = self.parts.iter().filter(|part| !part.rpc.is_empty());
        asked.map(|part| part.name.as_str())
    }

    /// The replicas of a part, each with its place, or the reason why there are none.
    pub(super) async fn find(&self, name: &str) -> Vec<(String, Result<Replica, String>)> {
        let parts = self.parts.iter().filter(|part| part.name == name);
        let mut found = Vec::new();
        for part in parts {
            match resolve(part).await {
                Ok((service, addresses)) => found.extend(
                    addresses
                        .into_iter()
                        .map(|address| (address.to_string(), Ok(Replica { service, address }))),
                ),
                Err(reason) => found.push((part.rpc.clone(), Err(reason))),
            }
        }
        found
    }

    pub(super) async fn change(
        &self,
        replica: &Replica,
        change: &ChangeRequest,
    ) -> Result<Settings, String> {
        let mut client = TelemetryClient::new(self.channel(replica)?);
        match tokio::time::timeout(DEADLINE, client.change(change.clone())).await {
            Ok(Ok(settings)) => Ok(settings.into_inner()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
        }
    }

    fn channel(&self, replica: &Replica) -> Result<Channel, String> {
        let address = replica.address.to_string();
        if replica.service != ServiceName::DatastoreProxy {
            return Ok(self.mesh.channel(&address, Peer::Service(replica.service)));
        }
        let leaf = self.datastore.as_ref();
        let leaf = leaf.ok_or("this supervisor has no certificate for the datastore")?;
        Ok(self.mesh.datastore_channel(&address, leaf))
    }
}

async fn resolve(part: &Part) -> Result<(ServiceName, Vec<SocketAddr>), String> {
    let named = |service: &&ServiceName| service.as_str() == part.name;
    let service = ServiceName::ALL.iter().copied().find(|s| named(&s));
    let service = service.ok_or_else(|| format!("{} is no service of ours", part.name))?;
    let found = tokio::time::timeout(DEADLINE, tokio::net::lookup_host(&part.rpc)).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(format!("resolving {}: {error}; is it running?", part.rpc)),
        Err(_) => return Err(format!("resolving {}: no answer", part.rpc)),
    };
    if addresses.is_empty() {
        return Err(format!("{} has no address; is it running?", part.rpc));
    }
    Ok((service, addresses))
}
