//! Processes of nodes, each over the session that its node holds with one of the supervisors.

use super::DEADLINE;
use crate::domain::fleet::Fleet;
use crate::session::Hub;
use crate::store::mirror::State;
use sextant_identity::{Mesh, Peer, ServiceName};
use sextant_proto::supervisor::ChangeNodeTelemetryRequest;
use sextant_proto::supervisor::node_relay_client::NodeRelayClient;
use sextant_proto::supervisor::node_relay_server::NodeRelay;
use sextant_proto::telemetry::{ChangeRequest, Settings};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The way to every node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Sessions of this replica.
    pub hub: Hub,
    /// All nodes.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// Sessions of the others.
    pub state: watch::Receiver<Arc<State>>,
    /// This replica's name in the sessions it registers.
    pub replica: String,
    /// For the other supervisors.
    pub mesh: Mesh,
}

impl Nodes {
    /// Names of all nodes.
    pub(super) fn names(&self) -> Vec<String> {
        self.fleet.borrow().nodes.keys().cloned().collect()
    }

    /// Makes a change in a process of a node.
    pub(super) async fn change(
        &self,
        node: &str,
        process: &str,
        change: &ChangeRequest,
    ) -> Result<Settings, Status> {
        let request = ChangeNodeTelemetryRequest {
            node: node.to_owned(),
            process: process.to_owned(),
            change: Some(change.clone()),
        };
        if self.hub.has(node) {
            return self.change_here(request).await;
        }
        let Some(address) = self.elsewhere(node) else {
            return Err(Status::unavailable("it has no session with a supervisor"));
        };
        let peer = Peer::Service(ServiceName::Supervisor);
        let mut relay = NodeRelayClient::new(self.mesh.channel(&address, peer));
        // That replica waits for the node itself.
        match tokio::time::timeout(2 * DEADLINE, relay.change_telemetry(request)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "supervisor {address}, which has its session, doesn't answer"
            ))),
        }
    }

    async fn change_here(&self, request: ChangeNodeTelemetryRequest) -> Result<Settings, Status> {
        let ChangeNodeTelemetryRequest {
            node,
            process,
            change,
        } = request;
        let answer = self
            .hub
            .change_telemetry(&node, process, change.unwrap_or_default())?;
        let outcome = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => return Err(Status::unavailable("its session has just ended")),
            Err(_) => {
                return Err(Status::deadline_exceeded(format!(
                    "its node-agent gave no answer within {} s; an older one knows no such change",
                    DEADLINE.as_secs()
                )));
            }
        };
        let settings = outcome.settings;
        settings.ok_or_else(|| Status::failed_precondition(outcome.error))
    }

    fn elsewhere(&self, node: &str) -> Option<String> {
        let state = self.state.borrow();
        let mut sessions = state.sessions.get(node)?.iter();
        let (_, session) = sessions.find(|(replica, _)| **replica != self.replica)?;
        Some(session.address.clone())
    }
}

/// `NodeRelay`.
#[derive(Clone, Debug)]
pub struct NodeRelayService(pub Nodes);

#[tonic::async_trait]
impl NodeRelay for NodeRelayService {
    async fn change_telemetry(
        &self,
        request: Request<ChangeNodeTelemetryRequest>,
    ) -> Result<Response<Settings>, Status> {
        // It isn't relayed again: a session that was registered may have ended meanwhile.
        let settings = self.0.change_here(request.into_inner()).await?;
        Ok(Response::new(settings))
    }
}
