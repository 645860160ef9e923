//! `NodeSession`.

use super::hub::Hub;
use super::peer::node_name;
use super::stream::{self, Sources, Up};
use crate::certificates::Issuer;
use crate::tunnel::Pending;
use futures::Stream;
use sextant_identity::peer;
use sextant_proto::supervisor::{
    NodeCertificateRequests, NodeCertificates, NodeInstruction, NodeReport, TunnelData,
    node_session_server::NodeSession,
};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Instructions on the way to a node that reads slowly.
const DOWN: usize = 16;
/// Metadata key that names a tunnel connection.
const TUNNEL_ID: &str = "sextant-tunnel-id";

/// The service.
#[derive(Clone, Debug)]
pub struct NodeSessions {
    hub: Hub,
    pending: Pending,
    issuer: Issuer,
    sources: Sources,
}

impl NodeSessions {
    /// With everything that sessions follow.
    pub fn new(hub: Hub, pending: Pending, issuer: Issuer, sources: Sources) -> Self {
        Self {
            hub,
            pending,
            issuer,
            sources,
        }
    }

    /// Refuses a node that was removed. A node that has just joined elsewhere may not be in our copy yet, so the
    /// datastore has the last word; when it is away, the certificate is enough.
    async fn check_registered(&self, node: &str) -> Result<(), Status> {
        if self.sources.fleet.borrow().nodes.contains_key(node) {
            return Ok(());
        }
        match self.sources.store.node(node).await {
            Ok(found) if found.value.is_none() => Err(stream::removed(node)),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(node, %error, "session allowed without a look at the registry");
                Ok(())
            }
        }
    }
}

#[tonic::async_trait]
impl NodeSession for NodeSessions {
    type SessionStream = ReceiverStream<Result<NodeInstruction, Status>>;
    type TunnelStream = Pin<Box<dyn Stream<Item = Result<TunnelData, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = node_name(request.extensions())?.as_str().to_owned();
        self.check_registered(&node).await?;
        let session = self.hub.open(&node, crate::clock::now());
        tracing::info!(node, "session opened");
        let (down, instructions) = mpsc::channel(DOWN);
        let guard = self.sources.drain.guard();
        let sources = self.sources.clone();
        let up = Up {
            connection: peer::leaving(request.extensions()),
            reports: request.into_inner(),
        };
        tokio::spawn(async move {
            stream::run(node, session, up, sources, down).await;
            drop(guard);
        });
        Ok(Response::new(ReceiverStream::new(instructions)))
    }

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelData>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let node = node_name(request.extensions())?;
        let id = request
            .metadata()
            .get(TUNNEL_ID)
            .and_then(|id| id.to_str().ok())
            .ok_or_else(|| Status::invalid_argument(format!("metadata {TUNNEL_ID} is missing")))?
            .to_owned();
        let down = self
            .pending
            .arrive(&id, node.as_str(), request.into_inner())?;
        Ok(Response::new(Box::pin(down)))
    }

    async fn renew(
        &self,
        request: Request<NodeCertificateRequests>,
    ) -> Result<Response<NodeCertificates>, Status> {
        let node = node_name(request.extensions())?;
        self.check_registered(node.as_str()).await?;
        let issued = self.issuer.renew(&node, request.get_ref()).await;
        Ok(Response::new(
            issued.map_err(|refusal| refusal.to_status())?,
        ))
    }
}
