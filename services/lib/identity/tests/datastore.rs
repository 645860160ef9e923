//! The etcd client over the datastore authority, to a listener that authorises by its own rule.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use sextant_identity::authz::Refusal;
use sextant_identity::{Authority, Identity, Leaf, Limits, ServiceName, peer, serve_grpc_with};
use sextant_kit::{Drain, DrainTrigger};
use sextant_proto::etcd::etcdserverpb::kv_server::{Kv, KvServer};
use sextant_proto::etcd::etcdserverpb::*;
use sextant_proto::etcd::mvccpb::KeyValue;
use sextant_testkit::{Root, eventually};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::*;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Answers every read with the caller's identity.
struct WhoAmI;

#[tonic::async_trait]
impl Kv for WhoAmI {
    async fn range(&self, call: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let value = peer::identity(call.extensions())
            .unwrap()
            .to_string()
            .into();
        let kvs = vec![KeyValue {
            value,
            ..KeyValue::default()
        }];
        Ok(Response::new(RangeResponse {
            kvs,
            count: 1,
            ..RangeResponse::default()
        }))
    }

    type RangeStreamStream =
        futures::stream::BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse::default()))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Only reads are allowed.
fn reads_only(path: &str, _: Option<&Identity>) -> Result<(), Refusal> {
    match path {
        "/etcdserverpb.KV/Range" => Ok(()),
        _ => Err(Refusal::NotAllowed("only reads".to_owned())),
    }
}

async fn start(root: &Root) -> (String, DrainTrigger) {
    start_at(root, "127.0.0.1:0").await
}

async fn start_at(root: &Root, address: &str) -> (String, DrainTrigger) {
    let leaf = root.datastore_leaf(ServiceName::DatastoreProxy);
    let tls = root
        .mesh(ServiceName::DatastoreProxy)
        .datastore_server_tls(&leaf);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (drain, trigger) = Drain::new();
    let routes = Routes::new(KvServer::new(WhoAmI));
    let authorize = Arc::new(reads_only);
    tokio::spawn(serve_grpc_with(
        listener,
        tls,
        routes,
        authorize,
        Limits::default(),
        drain,
    ));
    (address, trigger)
}

async fn read(client: &mut etcd_client::Client) -> Result<String, etcd_client::Error> {
    let answer = client.get("key", None).await?;
    Ok(answer.kvs()[0].value_str()?.to_owned())
}

#[tokio::test]
async fn the_client_shows_who_it_is_and_is_authorised_by_the_hook() {
    let root = Root::new();
    let (address, _trigger) = start(&root).await;
    let leaf = root.datastore_leaf(ServiceName::TokenService);
    let mesh = root.mesh(ServiceName::TokenService);
    let mut client = mesh.datastore_client_with(&address, &leaf).await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), "service/token-service");
    let refused = client
        .put("key", "value", None)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("only reads"), "{refused}");
}

#[tokio::test]
async fn a_mesh_certificate_is_none_of_the_datastore() {
    let root = Root::new();
    let (address, _trigger) = start(&root).await;
    let mesh = root.mesh(supervisor());
    let wrong = Leaf::from_parts(mesh.credentials());
    let mut client = mesh.datastore_client_with(&address, &wrong).await.unwrap();
    read(&mut client).await.unwrap_err();
}

#[tokio::test]
async fn a_new_connection_uses_the_renewed_certificate() {
    let root = Root::new();
    let (address, trigger) = start(&root).await;
    let sign = |from: SystemTime| {
        let wish = root.wish(Authority::Datastore).identity(&supervisor());
        Arc::new(root.sign(wish.valid(from, from + Duration::from_secs(3600))))
    };
    let now = SystemTime::now();
    let expired = sign(now - Duration::from_secs(7200));
    let (sender, receiver) = tokio::sync::watch::channel(expired);
    let mesh = root.mesh(supervisor());
    let leaf = Leaf::from_parts(receiver);
    let client = mesh.datastore_client_with(&address, &leaf).await.unwrap();
    read(&mut client.clone()).await.unwrap_err();
    sender.send_replace(sign(now));
    let reads = |what: &'static str| {
        let client = client.clone();
        async move {
            let found = eventually(DEADLINE, what, || async { read(&mut client.clone()).await });
            assert_eq!(found.await, "service/supervisor");
        }
    };
    reads("the renewed certificate is used").await;
    // The server goes away; the client comes back by itself once there is one again.
    trigger.start();
    eventually(DEADLINE, "the listener is closed", || async {
        match tokio::net::TcpStream::connect(&address).await {
            Ok(_) => Err("accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let _again = start_at(&root, &address).await;
    reads("reconnected").await;
}
