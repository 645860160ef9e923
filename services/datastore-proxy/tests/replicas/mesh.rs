//! Between replicas there is mutual TLS, and only datastore-proxy may ask what replicas ask each other.

use crate::support;
use crate::support::database::{Server, on_each_server};
use datastore_proxy::app::Bound;
use datastore_proxy::config::{Config, DatabaseConfig};
use datastore_proxy::store::server::Settings;
use sextant_identity::{Identity, Peer, ServiceName};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::datastore as pb;
use sextant_proto::datastore::replica_client::ReplicaClient;
use sextant_testkit::Root;
use std::time::Duration;
use tonic::Code;

on_each_server! {
    replicas_trust_each_other_and_nobody_else,
}

struct Replica {
    address: String,
    peer_address: String,
    _trigger: DrainTrigger,
}

impl Replica {
    async fn start(server: &Server, root: &Root) -> Self {
        let (ctx, trigger) = Context::new();
        let own = Identity::Service(ServiceName::DatastoreProxy);
        let mesh = root.mesh(own.clone());
        let tls = mesh.datastore_server_tls(&root.datastore_leaf(own));
        let endpoint = server.endpoint("plane");
        let config = Config {
            insecure_loopback: false,
            ..support::replica(&endpoint)
        };
        let settings = Settings::new(&endpoint, &DatabaseConfig::default()).unwrap();
        let ready = ctx.readiness.task("datastore");
        let bound = Bound::with_database(&config, &ctx, settings, Some((mesh, tls)), ready);
        let bound = bound.await.unwrap();
        let address = format!("localhost:{}", bound.address().unwrap().port());
        let peer_address = bound.peer_address().unwrap().to_owned();
        tokio::spawn(async move { bound.run().await.unwrap() });
        tokio::time::timeout(Duration::from_secs(20), ctx.readiness.ready())
            .await
            .unwrap();
        Self {
            address,
            peer_address,
            _trigger: trigger,
        }
    }
}

async fn replicas_trust_each_other_and_nobody_else(server: Server) {
    let root = Root::new();
    let first = Replica::start(&server, &root).await;
    let second = Replica::start(&server, &root).await;
    let caller = Identity::Service(ServiceName::TokenService);
    let leaf = root.datastore_leaf(caller.clone());
    let mesh = root.mesh(caller);
    let key = "/sextant/token-service/a";
    let mut there = mesh
        .datastore_client_with(&second.address, &leaf)
        .await
        .unwrap();
    there.put(key, "1", None).await.unwrap();
    let foreign = there.put("/registry/a", "1", None).await.unwrap_err();
    assert!(
        foreign.to_string().contains("permission denied"),
        "{foreign}"
    );
    let mut here = mesh
        .datastore_client_with(&first.address, &leaf)
        .await
        .unwrap();
    let found = here.get(key, None).await.unwrap();
    assert_eq!(found.kvs()[0].value(), b"1");

    for caller in ServiceName::ALL.iter().map(|name| Identity::Service(*name)) {
        let peer = Peer::Service(ServiceName::DatastoreProxy);
        let channel = root.mesh(caller.clone()).channel(&first.peer_address, peer);
        let mut client = ReplicaClient::new(channel);
        let asked = client.revision(pb::RevisionRequest {}).await;
        let code = asked.map_or_else(|status| status.code(), |_| Code::Ok);
        let wanted = match caller {
            Identity::Service(ServiceName::DatastoreProxy) => Code::Ok,
            _ => Code::PermissionDenied,
        };
        assert_eq!(code, wanted, "{caller}");
    }
}
