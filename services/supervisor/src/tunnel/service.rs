//! `Egress`.

use super::OPEN_DEADLINE;
use super::carry::Carrier;
use super::relay::Relay;
use crate::domain::cluster::ClusterConfig;
use crate::domain::fleet::Fleet;
use crate::domain::routing::Route;
use crate::store::mirror::State;
use futures::Stream;
use sextant_identity::{Identity, Mesh, ServiceName, peer};
use sextant_proto::supervisor::{
    EgressData, EgressOpen, egress_data::Message, egress_server::Egress,
};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, Streaming};

type Answers = Pin<Box<dyn Stream<Item = Result<EgressData, Status>> + Send>>;

/// The service.
#[derive(Clone, Debug)]
pub struct EgressTunnel {
    carrier: Carrier,
    relay: Relay,
    map: Map,
}

/// What is known of nodes and of the sessions that other replicas hold.
#[derive(Clone, Debug)]
pub struct Map {
    /// Wanted cluster.
    pub cluster: Arc<ClusterConfig>,
    /// All nodes.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// A copy of our state.
    pub state: watch::Receiver<Arc<State>>,
    /// This replica's name in the sessions it registers.
    pub replica: String,
}

/// Who carries a connection.
#[derive(Debug, PartialEq, Eq)]
enum Carry {
    Here(String),
    There(String),
}

impl EgressTunnel {
    /// Over this replica's sessions and those that the others registered.
    pub fn new(carrier: Carrier, mesh: Mesh, map: Map) -> Self {
        Self {
            carrier,
            relay: Relay::new(mesh),
            map,
        }
    }

    fn choose(&self, open: &EgressOpen) -> Result<Carry, Status> {
        let table = self.map.fleet.borrow().routing_table(&self.map.cluster);
        let route = table
            .route(&open.target)
            .map_err(|no_route| Status::permission_denied(format!("no tunnel: {no_route}")))?;
        let state = self.map.state.borrow();
        let elsewhere = |node: &str| {
            let sessions = state.sessions.get(node)?;
            let (_, session) = sessions
                .iter()
                .find(|(replica, _)| **replica != self.map.replica)?;
            Some(session.address.clone())
        };
        let (here, there) = match &route {
            Route::Node(node) => (
                self.carrier.hub.has(node).then(|| node.clone()),
                elsewhere(node),
            ),
            Route::AnyNode => (
                self.carrier.hub.any_ready(rand::random()),
                state.sessions.keys().find_map(|node| elsewhere(node)),
            ),
        };
        match (here, there) {
            (Some(node), _) => Ok(Carry::Here(node)),
            (None, Some(address)) if !open.relayed => Ok(Carry::There(address)),
            _ => Err(Status::unavailable(match route {
                Route::Node(node) => format!(
                    "node {node:?} has no session with any supervisor now: is its node-agent running and does it reach a supervisor?"
                ),
                Route::AnyNode => "no node is ready to carry a connection to a Service".to_owned(),
            })),
        }
    }
}

#[tonic::async_trait]
impl Egress for EgressTunnel {
    type ConnectStream = Answers;

    async fn connect(
        &self,
        request: Request<Streaming<EgressData>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let caller = peer::identity(request.extensions()).cloned();
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(OPEN_DEADLINE, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no first message within 10 s"))??;
        let Some(EgressData {
            message: Some(Message::Open(open)),
        }) = first
        else {
            return Err(Status::invalid_argument(
                "the first message must carry `open`",
            ));
        };
        if open.relayed && caller != Some(Identity::Service(ServiceName::Supervisor)) {
            return Err(Status::permission_denied("only a supervisor relays"));
        }
        let chosen = self.choose(&open).inspect_err(|error| {
            // A target that isn't the cluster's is its caller's mistake.
            if error.code() == Code::Unavailable {
                self.carrier.failed(&open.target, error);
            }
        })?;
        let answers: Answers = match chosen {
            Carry::Here(node) => Box::pin(self.carrier.carry(&node, &open.target, inbound).await?),
            Carry::There(address) => {
                Box::pin(self.relay.open(&address, &open.target, inbound).await?)
            }
        };
        Ok(Response::new(answers))
    }
}
