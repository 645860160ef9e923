//! Calls of one client to several replicas.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use futures::future::try_join_all;
use sextant_identity::{Channel, ClientAuth, PeerInfo};
use sextant_proto::certauthority::seal_client::SealClient;
use sextant_proto::certauthority::seal_server::{Seal, SealServer};
use sextant_proto::certauthority::{SealRequest, SealResponse, UnsealRequest, UnsealResponse};
use sextant_testkit::Root;
use std::collections::BTreeSet;
use support::*;
use tokio::sync::Barrier;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// As many as a spread channel has connections.
const TOGETHER: usize = 4;

/// Unseals by telling which connection it came by, once so many calls are open.
struct Together(Barrier);

#[tonic::async_trait]
impl Seal for Together {
    async fn seal(&self, _: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        Err(Status::unimplemented("only unseals"))
    }

    async fn unseal(
        &self,
        request: Request<UnsealRequest>,
    ) -> Result<Response<UnsealResponse>, Status> {
        self.0.wait().await;
        let info = request.extensions().get::<PeerInfo>().unwrap();
        let plaintext = info.exporter.to_vec().into();
        Ok(Response::new(UnsealResponse { plaintext }))
    }
}

/// The connections that so many calls came by, all open at one time.
async fn connections(channel: &Channel, calls: usize) -> BTreeSet<Vec<u8>> {
    let call = |_| {
        let mut client = SealClient::new(channel.clone());
        async move { client.unseal(UnsealRequest::default()).await }
    };
    let answers = tokio::time::timeout(DEADLINE, try_join_all((0..calls).map(call))).await;
    let answers = answers.expect("answers in time").unwrap();
    let connection = |answer: Response<UnsealResponse>| answer.into_inner().plaintext.to_vec();
    answers.into_iter().map(connection).collect()
}

#[tokio::test]
async fn calls_that_overlap_go_over_several_connections() {
    let root = Root::new();
    let service = SealServer::new(Together(Barrier::new(TOGETHER)));
    let server = Server::with(
        server_tls(&root, ClientAuth::Required),
        Routes::new(service),
    );
    let server = server.await;
    let mesh = root.mesh(sextant_identity::ServiceName::Supervisor);
    let spread = mesh.spread_channel(&server.address(), cert_authority());
    assert_eq!(connections(&spread, TOGETHER).await.len(), TOGETHER);
    let one = mesh.channel(&server.address(), cert_authority());
    assert_eq!(connections(&one, TOGETHER).await.len(), 1);
}

#[tokio::test]
async fn calls_one_after_the_other_need_one_connection() {
    let root = Root::new();
    let server = Server::start(server_tls(&root, ClientAuth::Required)).await;
    let mesh = root.mesh(sextant_identity::ServiceName::Supervisor);
    let spread = mesh.spread_channel(&server.address(), cert_authority());
    let mut all = connections(&spread, 1).await;
    for _ in 0..5 {
        all.extend(connections(&spread, 1).await);
    }
    assert_eq!(all.len(), 1);
}
