//! Renewals and new anchors under open connections: nothing is dropped, everything new uses the new.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use sextant_identity::{Authority, ClientAuth, Identity, ServiceName, TrustBundle};
use sextant_proto::certauthority::WatchTrustRequest;
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use sextant_testkit::{Root, eventually};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::authority::FakeAuthority;
use support::*;

#[tokio::test]
async fn an_open_stream_survives_the_rotation_of_both_certificates() {
    let root = Root::new();
    let identity = ServiceName::CertAuthority.into();
    let (server_mesh, server_certificate, _) = root.rotating_mesh(ServiceName::CertAuthority);
    let (client_mesh, client_certificate, _) = root.rotating_mesh(supervisor());
    let authority = FakeAuthority::new(&root, supervisor());
    let routes = tonic::service::Routes::new(
        sextant_proto::certauthority::cert_authority_server::CertAuthorityServer::new(
            authority.clone(),
        ),
    );
    let server = Server::with(server_mesh.server_tls(ClientAuth::Required), routes).await;
    let channel = client_mesh.channel(&server.address(), cert_authority());
    let mut client = CertAuthorityClient::new(channel);
    let mut stream = client
        .watch_trust(WatchTrustRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().generation, 1);

    // Both are replaced by certificates that have expired already: whoever connects anew is refused.
    let past = SystemTime::now() - Duration::from_secs(7200);
    let expired = |identity| {
        let wish = root.wish(Authority::Mesh).identity(identity);
        Arc::new(root.sign(wish.valid(past, past + Duration::from_secs(3600))))
    };
    server_certificate.send_replace(expired(&identity));
    client_certificate.send_replace(expired(&supervisor()));
    eventually(
        DEADLINE,
        "new connections get the new certificate",
        || async {
            let channel = root
                .mesh(supervisor())
                .channel(&server.address(), cert_authority());
            match CertAuthorityClient::new(channel)
                .watch_trust(WatchTrustRequest {})
                .await
            {
                Ok(_) => Err("accepted"),
                Err(_) => Ok(()),
            }
        },
    )
    .await;

    for generation in 2..5 {
        authority
            .trust
            .send_modify(|bundle| bundle.generation = generation);
        assert_eq!(
            stream.message().await.unwrap().unwrap().generation,
            generation
        );
    }
    // New calls go over the open connection, too.
    client.watch_trust(WatchTrustRequest {}).await.unwrap();
}

#[tokio::test]
async fn authorities_are_replaced_by_trusting_both_first() {
    let old = Root::new();
    let new = Root::new();
    let (server_mesh, server_certificate, server_trust) =
        old.rotating_mesh(ServiceName::CertAuthority);
    let (client_mesh, client_certificate, client_trust) = old.rotating_mesh(supervisor());
    let server = Server::start(server_mesh.server_tls(ClientAuth::Required)).await;
    let fresh = || client_mesh.channel(&server.address(), cert_authority());
    assert!(who_am_i(fresh()).await.is_ok());

    let both = TrustBundle {
        generation: 2,
        mesh: [old.bundle().mesh.clone(), new.bundle().mesh.clone()].concat(),
        ..(*old.bundle()).clone()
    };
    let sign =
        |identity: Identity| Arc::new(new.sign(new.wish(Authority::Mesh).identity(&identity)));
    for trust in [&server_trust, &client_trust] {
        trust.send_replace(Arc::new(both.clone()));
    }
    let works = |what: &'static str| async move {
        eventually(DEADLINE, what, || async { who_am_i(fresh()).await }).await
    };
    works("both are trusted").await;
    client_certificate.send_replace(sign(supervisor()));
    works("the client has a new certificate").await;
    server_certificate.send_replace(sign(ServiceName::CertAuthority.into()));
    works("the server has a new certificate").await;
    let only_new = TrustBundle {
        generation: 3,
        ..(*new.bundle()).clone()
    };
    for trust in [&server_trust, &client_trust] {
        trust.send_replace(Arc::new(only_new.clone()));
    }
    works("the old authority is gone").await;
    let straggler = old.mesh(supervisor());
    eventually(DEADLINE, "the old authority is refused", || async {
        let channel = straggler.channel(&server.address(), cert_authority());
        match who_am_i(channel).await {
            Ok(_) => Err("accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn draining_closes_the_listener_and_lets_open_calls_finish() {
    let root = Root::new();
    let authority = FakeAuthority::new(&root, supervisor());
    let (address, trigger) = authority.start().await;
    let channel = root
        .mesh(supervisor())
        .channel(&address.to_string(), cert_authority());
    let mut stream = CertAuthorityClient::new(channel)
        .watch_trust(WatchTrustRequest {})
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    trigger.start();
    eventually(DEADLINE, "the listener is closed", || async {
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => Err("accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
    authority.trust.send_modify(|bundle| bundle.generation = 2);
    assert_eq!(stream.message().await.unwrap().unwrap().generation, 2);
}
