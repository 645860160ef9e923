//! What strangers can make a listener hold, and how long.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion, version};
use sextant_identity::{ClientAuth, Leaving, Limits, Mesh, serve_http};
use sextant_kit::{Drain, DrainTrigger};
use sextant_testkit::Root;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn start(mesh: &Mesh, limits: Limits) -> (SocketAddr, DrainTrigger) {
    let (drain, trigger) = Drain::new();
    let listener = loopback().await;
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/ping", axum::routing::get(|| async { "pong" }));
    let tls = mesh.server_tls(ClientAuth::Optional);
    tokio::spawn(serve_http(listener, tls, app, limits, drain));
    (address, trigger)
}

async fn connect(
    root: &Root,
    address: SocketAddr,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.bundle().mesh[0].clone()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), stream)
        .await
}

async fn reads_to_the_end(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // However it ends, with or without a close_notify: it must end.
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    let _ = ended.expect("the server closes the connection");
}

#[tokio::test]
async fn the_hybrid_key_exchange_is_used_and_old_versions_are_refused() {
    let root = Root::new();
    let (address, _trigger) = start(&named_server(&root), Limits::default()).await;
    let stream = connect(&root, address, &[&version::TLS13]).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    connect(&root, address, &[&version::TLS12])
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_silent_handshake_is_cut() {
    let root = Root::new();
    let limits = Limits {
        handshake_deadline: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, _trigger) = start(&named_server(&root), limits).await;
    reads_to_the_end(TcpStream::connect(address).await.unwrap()).await;
}

#[tokio::test]
async fn callers_without_a_certificate_are_few_and_may_not_stay() {
    let root = Root::new();
    // A quarter of four: one at a time.
    let limits = Limits {
        max_connections: 4,
        max_anonymous_age: Duration::from_millis(200),
        ..Limits::default()
    };
    let (address, _trigger) = start(&named_server(&root), limits).await;
    let mut first = connect(&root, address, &[&version::TLS13]).await.unwrap();
    first
        .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let second = connect(&root, address, &[&version::TLS13]).await.unwrap();
    reads_to_the_end(second).await;
    reads_to_the_end(first).await;
}

#[tokio::test]
async fn calls_that_never_end_hold_a_drain_only_for_its_grace() {
    let root = Root::new();
    let limits = Limits {
        drain_grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let listener = loopback().await;
    let address = listener.local_addr().unwrap();
    let called = Arc::new(Notify::new());
    let handler = {
        let called = Arc::clone(&called);
        move || async move {
            called.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let app = axum::Router::new().route("/", axum::routing::get(handler));
    let (drain, trigger) = Drain::new();
    let tls = named_server(&root).server_tls(ClientAuth::Optional);
    let serving = tokio::spawn(serve_http(listener, tls, app, limits, drain));
    let mut stream = connect(&root, address, &[&version::TLS13]).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    called.notified().await;
    trigger.start();
    tokio::time::timeout(DEADLINE, serving)
        .await
        .expect("served to the end")
        .unwrap()
        .unwrap();
    reads_to_the_end(stream).await;
}

#[tokio::test]
async fn a_call_that_is_followed_hears_that_its_connection_is_old() {
    let root = Root::new();
    let limits = Limits {
        max_anonymous_age: Duration::from_millis(50),
        ..Limits::default()
    };
    let handler = |axum::Extension(leaving): axum::Extension<Leaving>| async move {
        leaving.signaled().await;
        "heard"
    };
    let app = axum::Router::new().route("/", axum::routing::get(handler));
    let listener = loopback().await;
    let address = listener.local_addr().unwrap();
    let (drain, _trigger) = Drain::new();
    let tls = named_server(&root).server_tls(ClientAuth::Optional);
    tokio::spawn(serve_http(listener, tls, app, limits, drain));
    let mut stream = connect(&root, address, &[&version::TLS13]).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    assert!(answer.ends_with("heard"), "{answer}");
}
