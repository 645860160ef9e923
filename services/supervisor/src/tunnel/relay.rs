//! A connection over a session that another replica holds.

use super::OPEN_DEADLINE;
use futures::StreamExt;
use sextant_identity::{Channel, Mesh, Peer, ServiceName};
use sextant_proto::supervisor::{
    EgressData, EgressOpen, egress_client::EgressClient, egress_data::Message,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Status, Streaming};

/// Replicas whose channels are kept.
const MOST: usize = 64;

/// Channels to other replicas. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    mesh: Mesh,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Relay {
    pub fn new(mesh: Mesh) -> Self {
        Self {
            mesh,
            channels: Arc::default(),
        }
    }

    /// Opens the connection at the replica and passes everything on.
    pub async fn open(
        &self,
        address: &str,
        target: &str,
        from_api: Streaming<EgressData>,
    ) -> Result<Streaming<EgressData>, Status> {
        let open = EgressOpen {
            target: target.to_owned(),
            relayed: true,
        };
        let first = EgressData {
            message: Some(Message::Open(open)),
        };
        // An error ends the request here; the dropped answer then resets the call.
        let rest = from_api
            .map(Result::ok)
            .take_while(|item| std::future::ready(item.is_some()));
        let requests = futures::stream::iter([Some(first)])
            .chain(rest)
            .filter_map(std::future::ready);
        let mut client = EgressClient::new(self.channel(address));
        match tokio::time::timeout(OPEN_DEADLINE, client.connect(requests)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Status::new(
                status.code(),
                format!("supervisor {address}: {}", status.message()),
            )),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "supervisor {address} did not open the connection to {target} within 10 s"
            ))),
        }
    }

    fn channel(&self, address: &str) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.len() >= MOST && !channels.contains_key(address) {
            // Replicas that are long gone.
            channels.clear();
        }
        channels
            .entry(address.to_owned())
            .or_insert_with(|| {
                self.mesh
                    .channel(address, Peer::Service(ServiceName::Supervisor))
            })
            .clone()
    }
}
