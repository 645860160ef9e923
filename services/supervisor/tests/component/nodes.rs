//! A node as the supervisor sees it.

use crate::rig::{DEADLINE, Replica, Rig};
use sextant_identity::{Identity, KeyPair, NodeName};
use sextant_proto::join::{JoinRequest, JoinResponse};
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_report::Report;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use sextant_proto::supervisor::{
    NodeCertificateRequests, NodeHello, NodeInstruction, NodeReport, NodeStatus,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Requests for a node's certificates with `mesh` as its identity's key.
pub fn requests(mesh: &KeyPair) -> NodeCertificateRequests {
    let other = || KeyPair::generate().unwrap().csr_pem().unwrap();
    NodeCertificateRequests {
        mesh: mesh.csr_pem().unwrap(),
        kubelet_client: other(),
        kubelet_serving: other(),
        kube_proxy: other(),
        addresses: vec!["172.18.0.9".into()],
    }
}

pub async fn join(
    rig: &Rig,
    replica: &Replica,
    name: &str,
    token: &str,
    key: &KeyPair,
) -> Result<JoinResponse, sextant_identity::Error> {
    let request = JoinRequest {
        node_name: name.to_owned(),
        requests: requests(key),
    };
    rig.join_api(replica)
        .await
        .post("/v1/join", Some(token), &request)
        .await
}

pub fn identity(name: &str) -> Identity {
    Identity::Node(name.parse::<NodeName>().unwrap())
}

/// An open session.
pub struct Session {
    up: mpsc::Sender<NodeReport>,
    down: Streaming<NodeInstruction>,
}

impl Session {
    pub async fn open(rig: &Rig, replica: &Replica, name: &str) -> Result<Self, Status> {
        let mut client = NodeSessionClient::new(rig.public(replica, identity(name)));
        let (up, reports) = mpsc::channel(8);
        let hello = NodeHello {
            version: "test".into(),
            addresses: vec!["172.18.0.9".into()],
            vtep_mac: "02:00:00:00:00:09".into(),
        };
        up.send(NodeReport {
            report: Some(Report::Hello(hello)),
        })
        .await
        .unwrap();
        let status = Report::Status(NodeStatus::default());
        up.send(NodeReport {
            report: Some(status),
        })
        .await
        .unwrap();
        let down = client
            .session(ReceiverStream::new(reports))
            .await?
            .into_inner();
        Ok(Self { up, down })
    }

    pub async fn report(&self, report: Report) {
        let report = Some(report);
        self.up.send(NodeReport { report }).await.unwrap();
    }

    pub async fn next(&mut self) -> Result<Instruction, Status> {
        let next = tokio::time::timeout(DEADLINE, self.down.message())
            .await
            .expect("no instruction");
        let message = next?.ok_or_else(|| Status::ok("ended"))?;
        Ok(message.instruction.unwrap())
    }
}

/// A node that has joined and has a session.
pub async fn joined(rig: &Rig, replica: &Replica, name: &str) -> Session {
    let key = KeyPair::generate().unwrap();
    join(rig, replica, name, &rig.token(name, 1), &key)
        .await
        .unwrap();
    Session::open(rig, replica, name).await.unwrap()
}
