//! The table identity × RPC × key range, over mutual TLS, with an etcd behind.

use crate::etcd::{self, Etcd};
use datastore_proxy::app::Bound;
use datastore_proxy::passthrough::Backend;
use datastore_proxy::passthrough::address::Address;
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, WatchOptions,
};
use sextant_identity::{Identity, ServiceName};
use sextant_kit::{Context, DrainTrigger, net};
use sextant_testkit::Root;
use tonic::Code;

struct Server {
    root: Root,
    address: String,
    _trigger: DrainTrigger,
}

impl Server {
    async fn start(etcd: &Etcd, prefix: &str) -> Self {
        let root = Root::new();
        let (ctx, trigger) = Context::new();
        let own = Identity::Service(ServiceName::DatastoreProxy);
        let tls = root
            .mesh(own.clone())
            .datastore_server_tls(&root.datastore_leaf(own));
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let ready = ctx.readiness.task("datastore");
        let config = etcd::config(&etcd.members(), prefix);
        let address = Address::parse(&format!("{}{prefix}", etcd.members())).unwrap();
        let backend = Backend::start(&address, config.etcd.clone(), &ctx, &ready).await;
        let backend = backend.unwrap().unwrap();
        let bound = Bound::with_etcd(&config, &ctx, backend, listener, Some(tls), ready).unwrap();
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

fn ok_if(allowed: bool) -> Code {
    if allowed {
        Code::Ok
    } else {
        Code::PermissionDenied
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let service = Identity::Service;
    let callers = [
        (
            service(ServiceName::KubeApiserver),
            vec!["/registry/a", "compact_rev_key"],
            true,
            false,
        ),
        (
            service(ServiceName::TokenService),
            vec!["/sextant/token-service/a"],
            false,
            false,
        ),
        (
            service(ServiceName::Supervisor),
            vec!["/sextant/supervisor/a"],
            false,
            true,
        ),
        (
            service(ServiceName::CertAuthority),
            vec!["/sextant/cert-authority/a"],
            false,
            false,
        ),
        (service(ServiceName::KubeScheduler), vec![], false, false),
        (Identity::Node("n1".parse().unwrap()), vec![], false, false),
        (Identity::Admin, vec![], true, true),
    ];
    let keys = [
        "/registry/a",
        "compact_rev_key",
        "/sextant/token-service/a",
        "/sextant/supervisor/a",
        "/sextant/cert-authority/a",
        "/sextant-planes/compacted/p/",
        "/other",
    ];
    for prefix in ["", "/p"] {
        let server = Server::start(&etcd, prefix).await;
        for (identity, own, compacts, cares) in &callers {
            let mut client = server.client(identity.clone()).await;
            for key in keys {
                let expected = ok_if(own.contains(&key));
                let case = format!("{prefix:?} {identity} {key}");
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
                assert_eq!(
                    code(client.delete(key, None).await),
                    expected,
                    "delete {case}"
                );
            }
            let case = format!("{prefix:?} {identity}");
            let expected = if *compacts {
                Code::OutOfRange
            } else {
                Code::PermissionDenied
            };
            assert_eq!(
                code(client.compact(1_000_000, None).await),
                expected,
                "compact {case}"
            );
            let known = !own.is_empty() || *identity == Identity::Admin;
            assert_eq!(code(client.status().await), ok_if(known), "status {case}");
            let expected = match (*cares, prefix) {
                (false, _) => Code::PermissionDenied,
                (true, "") => Code::Ok,
                (true, _) => Code::Unimplemented,
            };
            assert_eq!(code(client.hash_kv(0).await), expected, "hash {case}");
            assert_eq!(
                code(client.defragment().await),
                expected,
                "defragment {case}"
            );
            assert_eq!(
                code(snapshot(&mut client).await),
                expected,
                "snapshot {case}"
            );
        }
    }
}

async fn snapshot(client: &mut Client) -> Result<(), etcd_client::Error> {
    let mut pieces = client.snapshot().await?;
    while pieces.message().await?.is_some() {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_watches_and_leases_are_each_callers_own() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    for prefix in ["", "/p"] {
        let server = Server::start(&etcd, prefix).await;
        let mut tokens = server.service(ServiceName::TokenService).await;
        let mut supervisor = server.service(ServiceName::Supervisor).await;
        ranges_and_watches(&mut tokens, &mut supervisor).await;
        leases(&mut tokens, &mut supervisor).await;
    }
}

async fn ranges_and_watches(tokens: &mut Client, supervisor: &mut Client) {
    let everything = WatchOptions::new().with_range("\0");
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
        let keys = answer
            .events()
            .iter()
            .map(|event| event.kv().unwrap().key().to_vec());
        seen.extend(keys);
    }
    assert_eq!(seen, [b"/sextant/token-service/a"; 2]);
}

async fn leases(tokens: &mut Client, supervisor: &mut Client) {
    let lease = tokens.lease_grant(600, None).await.unwrap().id();
    let denied = Code::PermissionDenied;
    let leased = || Some(PutOptions::new().with_lease(lease));
    let put = supervisor.put("/sextant/supervisor/a", "", leased()).await;
    assert_eq!(code(put), denied);
    assert_eq!(code(supervisor.lease_revoke(lease).await), denied);
    assert_eq!(
        code(supervisor.lease_time_to_live(lease, None).await),
        denied
    );
    assert!(supervisor.leases().await.unwrap().leases().is_empty());
    assert_eq!(tokens.leases().await.unwrap().leases().len(), 1);
    tokens
        .put("/sextant/token-service/a", "", leased())
        .await
        .unwrap();
    assert_eq!(code(tokens.lease_revoke(lease).await), Code::Ok);
    assert_eq!(
        tokens
            .get("/sextant/token-service/a", None)
            .await
            .unwrap()
            .count(),
        0
    );
}
