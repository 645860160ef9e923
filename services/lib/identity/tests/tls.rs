//! Who may connect to whom, tried over real connections.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use sextant_identity::{Authority, ClientAuth, Identity, Peer, ServiceName};
use sextant_testkit::Root;
use std::time::{Duration, SystemTime};
use support::*;
use tonic::Code;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn both_sides_know_each_other() {
    let root = Root::new();
    let server = Server::start(server_tls(&root, ClientAuth::Required)).await;
    for peer in [
        cert_authority(),
        Peer::Any,
        Peer::Identity(ServiceName::CertAuthority.into()),
    ] {
        let channel = root.mesh(supervisor()).channel(&server.address(), peer);
        assert_eq!(who_am_i(channel).await.unwrap(), "service/supervisor");
    }
}

#[tokio::test]
async fn names_resolve_to_any_address() {
    let root = Root::new();
    let server = Server::start(server_tls(&root, ClientAuth::Required)).await;
    let address = format!("localhost:{}", server.address.port());
    let channel = root.mesh(supervisor()).channel(&address, cert_authority());
    assert_eq!(who_am_i(channel).await.unwrap(), "service/supervisor");
}

#[tokio::test]
async fn a_client_refuses_other_servers() {
    let root = Root::new();
    let server = Server::start(server_tls(&root, ClientAuth::Optional)).await;
    let refused = |root: Root, peer: Peer| {
        let channel = root.mesh(supervisor()).channel(&server.address(), peer);
        async move { who_am_i(channel).await.unwrap_err() }
    };
    let other = refused(root.clone(), Peer::Service(ServiceName::TokenService)).await;
    assert_eq!(other.code(), Code::Unavailable);
    let wanted = "wanted service/token-service, but this is service/cert-authority";
    assert!(other.message().contains(wanted), "{}", other.message());
    assert!(
        other.message().contains(&server.address()),
        "{}",
        other.message()
    );

    let stranger = refused(Root::new(), cert_authority()).await;
    assert!(
        stranger.message().contains("doesn't trust"),
        "{}",
        stranger.message()
    );
}

#[tokio::test]
async fn a_server_refuses_other_authorities_and_domains() {
    let root = Root::new();
    let server = Server::start(server_tls(&root, ClientAuth::Optional)).await;
    let identity = supervisor();
    let foreign = Root::new();
    let same_name = foreign.sign(foreign.wish(Authority::Mesh).identity(&identity));
    let other_authority = root.sign(root.wish(Authority::Datastore).identity(&identity));
    let mesh = |uri: &str| root.sign(root.wish(Authority::Mesh).uri(uri));
    let nobody = root.sign(root.wish(Authority::Mesh).dns("supervisor"));
    let two = root
        .wish(Authority::Mesh)
        .identity(&identity)
        .identity(&Identity::Admin);
    for (what, credentials) in [
        ("another cluster's authority", same_name),
        ("another authority of this cluster", other_authority),
        (
            "a foreign trust domain",
            mesh("spiffe://other.sextant.internal/service/supervisor"),
        ),
        (
            "a URI that is no identity",
            mesh("spiffe://test.sextant.internal/service/other"),
        ),
        ("no URI", nobody),
        ("two URIs", root.sign(two)),
    ] {
        let channel = mesh_with(&root, credentials).channel(&server.address(), cert_authority());
        let refused = who_am_i(channel).await;
        assert!(refused.is_err(), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn certificates_outside_their_life_are_refused_and_clocks_named() {
    let root = Root::new();
    let now = SystemTime::now();
    let of = |identity: &Identity, from: SystemTime, to: SystemTime| {
        root.sign(
            root.wish(Authority::Mesh)
                .identity(identity)
                .valid(from, to),
        )
    };
    let authority = ServiceName::CertAuthority.into();
    for (from, to, says) in [
        (
            now - 2 * DAY,
            now - DAY,
            "the peer's certificate expired at",
        ),
        (
            now + DAY,
            now + 2 * DAY,
            "the peer's certificate is not valid before",
        ),
    ] {
        let tls = mesh_with(&root, of(&authority, from, to)).server_tls(ClientAuth::Required);
        let server = Server::start(tls).await;
        let channel = root
            .mesh(supervisor())
            .channel(&server.address(), cert_authority());
        let refused = who_am_i(channel).await.unwrap_err();
        let said = refused.message();
        assert!(
            said.contains(says) && said.contains("our clock says"),
            "{said}"
        );
    }
    let server = Server::start(server_tls(&root, ClientAuth::Required)).await;
    let expired = mesh_with(&root, of(&supervisor(), now - 2 * DAY, now - DAY));
    let channel = expired.channel(&server.address(), cert_authority());
    assert_eq!(
        who_am_i(channel).await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn a_certificate_is_optional_only_where_said() {
    let root = Root::new();
    let anchors = root.bundle().mesh.clone();
    let path = "/sextant.certauthority.v1.CertAuthority/Enroll";
    let optional = Server::start(named_server(&root).server_tls(ClientAuth::Optional)).await;
    let code = call_without_certificate(optional.address, &anchors, path)
        .await
        .unwrap();
    assert_eq!(code, Code::Unimplemented);
    let required = Server::start(named_server(&root).server_tls(ClientAuth::Required)).await;
    let refused = call_without_certificate(required.address, &anchors, path).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_silent_server_ends_in_an_error_that_names_it() {
    let root = Root::new();
    let listener = loopback().await;
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let channel = root.mesh(supervisor()).channel(&address, cert_authority());
    let refused = who_am_i(channel).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains(&address),
        "{}",
        refused.message()
    );
    assert!(
        refused.message().contains("refused"),
        "{}",
        refused.message()
    );
}
