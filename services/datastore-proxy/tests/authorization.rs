//! The table identity × RPC × key range, over mutual TLS.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use datastore_proxy::app::Bound;
use datastore_proxy::store::sqlite::Claim;
use etcd_client::{
    AlarmAction, AlarmType, Client, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn,
    TxnOp, WatchOptions,
};
use sextant_identity::{Identity, ServiceName};
use sextant_kit::{Context, DrainTrigger, net};
use sextant_testkit::Root;
use std::path::Path;
use tonic::Code;

struct Server {
    root: Root,
    address: String,
    _trigger: DrainTrigger,
}

impl Server {
    async fn start(path: &Path) -> Self {
        let root = Root::new();
        let (ctx, trigger) = Context::new();
        let own = Identity::Service(ServiceName::DatastoreProxy);
        let mesh = root.mesh(own.clone());
        let tls = mesh.datastore_server_tls(&root.datastore_leaf(own));
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let opened = Claim::new(path).unwrap().open().unwrap();
        let ready = ctx.readiness.task("datastore");
        let config = support::config(path);
        let bound = Bound::with_store(&config, &ctx, opened, listener, Some(tls), ready).unwrap();
        let address = format!("localhost:{}", bound.address().unwrap().port());
        tokio::spawn(async move { bound.run().await.unwrap() });
        Self {
            root,
            address,
            _trigger: trigger,
        }
    }

    async fn client(&self, identity: Identity) -> Client {
        let leaf = self.root.datastore_leaf(identity.clone());
        let mesh = self.root.mesh(identity);
        mesh.datastore_client_with(&self.address, &leaf)
            .await
            .unwrap()
    }

    async fn service(&self, name: ServiceName) -> Client {
        self.client(Identity::Service(name)).await
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, etcd_client::Error>) -> Code {
    match result {
        Ok(_) => Code::Ok,
        Err(etcd_client::Error::GRpcStatus(status)) => {
            assert!(!status.message().is_empty(), "a refusal says why");
            status.code()
        }
        Err(error) => panic!("not an answer: {error}"),
    }
}

#[tokio::test]
async fn every_cell() {
    let (_folder, path) = support::store();
    let server = Server::start(&path).await;
    let callers = [
        (
            Identity::Service(ServiceName::KubeApiserver),
            "/registry/a",
            true,
            false,
        ),
        (
            Identity::Service(ServiceName::KubeApiserver),
            "compact_rev_key",
            true,
            false,
        ),
        (
            Identity::Service(ServiceName::TokenService),
            "/sextant/token-service/a",
            false,
            false,
        ),
        (
            Identity::Service(ServiceName::Supervisor),
            "/sextant/supervisor/a",
            false,
            true,
        ),
        (
            Identity::Service(ServiceName::CertAuthority),
            "/sextant/cert-authority/a",
            false,
            false,
        ),
        (
            Identity::Service(ServiceName::KubeScheduler),
            "",
            false,
            false,
        ),
        (
            Identity::Service(ServiceName::NetpolController),
            "",
            false,
            false,
        ),
        (Identity::Node("n1".parse().unwrap()), "", false, false),
        (Identity::Admin, "", true, true),
    ];
    let keys = [
        "/registry/a",
        "compact_rev_key",
        "/sextant/token-service/a",
        "/sextant/supervisor/a",
        "/sextant/cert-authority/a",
        "/other",
    ];
    for (identity, own, compacts, cares) in callers {
        let mut client = server.client(identity.clone()).await;
        for key in keys {
            let kube = own.starts_with("/registry/") || own == "compact_rev_key";
            let is_own = key == own || kube && (key == "/registry/a" || key == "compact_rev_key");
            let expected = if is_own {
                Code::Ok
            } else {
                Code::PermissionDenied
            };
            let case = format!("{identity} {key}");
            assert_eq!(
                code(client.put(key, "v", None).await),
                expected,
                "put {case}"
            );
            assert_eq!(code(client.get(key, None).await), expected, "get {case}");
            let nested = Txn::new().and_then([TxnOp::put(key, "v", None)]);
            let txn = Txn::new().or_else([TxnOp::txn(nested)]);
            assert_eq!(code(client.txn(txn).await), expected, "txn {case}");
            let compare = Txn::new().when([Compare::version(key, CompareOp::Equal, 0)]);
            assert_eq!(code(client.txn(compare).await), expected, "compare {case}");
            let locked = client.lock(format!("{key}/lock"), None).await;
            let below = key.ends_with("/a");
            let expected_below = if is_own && below {
                Code::Ok
            } else {
                Code::PermissionDenied
            };
            assert_eq!(code(locked.map(drop)), expected_below, "lock {case}");
            let led = client.campaign(format!("{key}/election"), "v", 0).await;
            assert_eq!(code(led.map(drop)), expected_below, "campaign {case}");
            // Another caller of this name would wait for them.
            let below = DeleteOptions::new().with_prefix();
            let cleared = client.delete(format!("{key}/"), Some(below)).await;
            assert_eq!(code(cleared), expected_below, "clear {case}");
            let stolen = client.unlock(key).await;
            assert_eq!(code(stolen.map(drop)), expected, "unlock {case}");
            assert_eq!(
                code(client.delete(key, None).await),
                expected,
                "delete {case}"
            );
        }
        let revision = 1_000_000;
        let expected = if compacts {
            Code::OutOfRange
        } else {
            Code::PermissionDenied
        };
        assert_eq!(
            code(client.compact(revision, None).await),
            expected,
            "compact {identity}"
        );
        let expected = if cares {
            Code::Ok
        } else {
            Code::PermissionDenied
        };
        assert_eq!(
            code(client.defragment().await),
            expected,
            "defragment {identity}"
        );
        let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
        assert_eq!(code(alarms), expected, "alarm {identity}");
        assert_eq!(code(client.hash_kv(0).await), expected, "hash {identity}");
        let taken = match client.snapshot().await {
            Ok(mut pieces) => pieces.message().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(code(taken), expected, "snapshot {identity}");
        let known = !own.is_empty() || identity == Identity::Admin;
        let expected = if known {
            Code::Ok
        } else {
            Code::PermissionDenied
        };
        assert_eq!(code(client.status().await), expected, "status {identity}");
    }
}

#[tokio::test]
async fn ranges_and_watches_are_cut() {
    let (_folder, path) = support::store();
    let server = Server::start(&path).await;
    let mut tokens = server.service(ServiceName::TokenService).await;
    let mut supervisor = server.service(ServiceName::Supervisor).await;
    let everything = WatchOptions::new().with_range("\0").with_start_revision(1);
    let mut watch = tokens.watch("\0", Some(everything)).await.unwrap();
    supervisor
        .put("/sextant/supervisor/a", "1", None)
        .await
        .unwrap();
    tokens
        .put("/sextant/token-service/a", "2", None)
        .await
        .unwrap();

    let all = tokens
        .get("\0", Some(GetOptions::new().with_from_key()))
        .await
        .unwrap();
    assert_eq!((all.kvs().len(), all.count()), (1, 1));
    let all = DeleteOptions::new().with_from_key();
    assert_eq!(tokens.delete("\0", Some(all)).await.unwrap().deleted(), 1);
    assert_eq!(
        supervisor
            .get("/sextant/supervisor/a", None)
            .await
            .unwrap()
            .count(),
        1
    );

    let mut seen = Vec::new();
    while seen.len() < 2 {
        let answer = watch.message().await.unwrap().unwrap();
        seen.extend(
            answer
                .events()
                .iter()
                .map(|event| event.kv().unwrap().key().to_vec()),
        );
    }
    assert_eq!(seen, [b"/sextant/token-service/a"; 2]);

    let foreign = tokens.watch("/sextant/supervisor/", None).await;
    let reason = match foreign {
        Err(error) => error.to_string(),
        Ok(mut watch) => match watch.message().await {
            Ok(Some(answer)) => {
                assert!(answer.canceled());
                answer.cancel_reason().to_owned()
            }
            Ok(None) => panic!("ended without a word"),
            Err(error) => error.to_string(),
        },
    };
    assert!(reason.contains("permission denied"), "{reason}");
}

#[tokio::test]
async fn leases_belong_to_who_made_them() {
    let (_folder, path) = support::store();
    let server = Server::start(&path).await;
    let mut tokens = server.service(ServiceName::TokenService).await;
    let mut supervisor = server.service(ServiceName::Supervisor).await;
    let lease = tokens.lease_grant(600, None).await.unwrap().id();
    let denied = Code::PermissionDenied;
    let leased = PutOptions::new().with_lease(lease);
    let put = supervisor
        .put("/sextant/supervisor/a", "", Some(leased))
        .await;
    assert_eq!(code(put), denied);
    assert_eq!(code(supervisor.lease_revoke(lease).await), denied);
    assert_eq!(
        code(supervisor.lease_time_to_live(lease, None).await),
        denied
    );
    assert!(supervisor.leases().await.unwrap().leases().is_empty());
    assert_eq!(tokens.leases().await.unwrap().leases().len(), 1);
    assert_eq!(code(tokens.lease_revoke(lease).await), Code::Ok);
}

#[tokio::test]
async fn others_than_the_datastore_authority_are_not_let_in() {
    let (_folder, path) = support::store();
    let server = Server::start(&path).await;
    let stranger = Root::new();
    let identity = Identity::Service(ServiceName::KubeApiserver);
    let leaf = stranger.datastore_leaf(identity.clone());
    let mesh = server.root.mesh(identity);
    let mut client = mesh
        .datastore_client_with(&server.address, &leaf)
        .await
        .unwrap();
    client.get("/registry/a", None).await.unwrap_err();
}
