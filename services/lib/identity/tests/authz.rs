//! The authorization table: complete, and enforced cell by cell.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use sextant_identity::authz::{Role, TABLE};
use sextant_identity::{ClientAuth, Identity, Limits, Peer, ServiceName, serve_http};
use sextant_kit::Drain;
use sextant_testkit::Root;
use std::collections::BTreeSet;
use std::path::Path;
use support::*;
use tonic::Code;
use tonic::client::Grpc;

/// Every method in the protos, as a path; etcd's API has its own table in datastore-proxy.
fn methods(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            methods(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let (mut package, mut service) = ("", "");
            for line in text.lines() {
                let words: Vec<_> = line
                    .split([' ', ';', '(', '{'])
                    .filter(|word| !word.is_empty())
                    .collect();
                match words.as_slice() {
                    ["package", name, ..] => package = name,
                    ["service", name, ..] => service = name,
                    ["rpc", name, ..] => {
                        found.insert(format!("/{package}.{service}/{name}"));
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn the_table_names_exactly_the_methods_that_there_are() {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../proto");
    let mut found = BTreeSet::new();
    methods(&protos.join("sextant"), &mut found);
    methods(&protos.join("kubernetes"), &mut found);
    let listed: BTreeSet<_> = TABLE.iter().map(|rule| rule.path.to_owned()).collect();
    assert_eq!(listed.len(), TABLE.len(), "a method is listed twice");
    assert_eq!(listed, found);
}

/// A call without content; the server has no services, so that an allowed call ends in UNIMPLEMENTED.
async fn call(channel: sextant_identity::Channel, path: &str) -> Code {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse().unwrap();
    client
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err()
        .code()
}

#[tokio::test]
async fn every_cell_of_the_table_is_enforced() {
    let root = Root::new();
    let tls = named_server(&root).server_tls(ClientAuth::Optional);
    let server = Server::with(tls, tonic::service::Routes::default()).await;
    let services = ServiceName::ALL.iter().map(|name| Identity::Service(*name));
    let callers: Vec<_> = services.chain([node("node-1"), Identity::Admin]).collect();
    for caller in &callers {
        let channel = root
            .mesh(caller.clone())
            .channel(&server.address(), Peer::Any);
        for rule in TABLE {
            let allowed = rule.allowed.iter().any(|role| role.includes(Some(caller)));
            let wanted = if allowed {
                Code::Unimplemented
            } else {
                Code::PermissionDenied
            };
            let found = call(channel.clone(), rule.path).await;
            assert_eq!(found, wanted, "{caller} calls {}", rule.path);
        }
        let unknown = call(channel, "/sextant.supervisor.v1.Admin/Other").await;
        assert_eq!(unknown, Code::PermissionDenied);
    }
    let anchors = root.bundle().mesh.clone();
    for rule in TABLE {
        let allowed = rule.allowed.contains(&Role::Anyone);
        let wanted = if allowed {
            Code::Unimplemented
        } else {
            Code::PermissionDenied
        };
        let found = call_without_certificate(server.address, &anchors, rule.path)
            .await
            .unwrap();
        assert_eq!(found, wanted, "nobody calls {}", rule.path);
    }
}

#[tokio::test]
async fn grpc_beside_http_is_authorised_by_the_same_table() {
    let root = Root::new();
    let (drain, _trigger) = Drain::new();
    let listener = loopback().await;
    let address = listener.local_addr().unwrap().to_string();
    let app = tonic::service::Routes::default()
        .into_axum_router()
        .route("/ping", axum::routing::get(|| async { "pong" }));
    let tls = root.mesh(supervisor()).server_tls(ClientAuth::Optional);
    tokio::spawn(serve_http(listener, tls, app, Limits::default(), drain));
    let path = "/sextant.supervisor.v1.Admin/Status";
    let peer = Peer::Service(ServiceName::Supervisor);
    for (caller, wanted) in [
        (Identity::Admin, Code::Unimplemented),
        (node("node-1"), Code::PermissionDenied),
        (supervisor(), Code::PermissionDenied),
    ] {
        let channel = root.mesh(caller.clone()).channel(&address, peer.clone());
        assert_eq!(call(channel, path).await, wanted, "{caller}");
    }
}
