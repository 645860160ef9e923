//! Telemetry to a collector that isn't of the mesh: both ends know each other by files.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

use sextant_identity::{Authority, Limits, ServiceName, serve_http};
use sextant_kit::Drain;
use sextant_testkit::{Collector, Process, Root};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a process that tells what it does, with these of the standard variables beside the endpoint.
async fn told(port: u16, variables: &[(&str, &Path)]) {
    // Cargo builds examples beside the tests.
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let endpoint = format!("https://localhost:{port}");
    let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let set: Vec<(&str, String)> = variables
        .iter()
        .map(|(name, path)| (*name, path.display().to_string()))
        .collect();
    environment.extend(set.iter().map(|(name, path)| (*name, path.as_str())));
    let program = folder.join("examples/traced");
    let mut process = Process::spawn::<&str>(&program, &[], &environment).unwrap();
    let status = process.wait(DEADLINE).await;
    assert!(status.success(), "{}", process.output());
}

#[tokio::test]
async fn it_is_verified_and_verifies() {
    let (root, stranger) = (Root::new(), Root::new());
    // A server whose certificate names localhost, and which demands one that the same authority has signed.
    let mesh = root.mesh(ServiceName::Collector);
    let tls = mesh.datastore_server_tls(&root.datastore_leaf(ServiceName::Collector));
    let listener = sextant_kit::net::bind(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Collector::start().await;
    let app = seen.routes().into_axum_router();
    let (drain, _trigger) = Drain::new();
    tokio::spawn(serve_http(listener, tls, app, Limits::default(), drain));

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let own = root.sign(
        root.wish(Authority::Datastore)
            .identity(&ServiceName::Supervisor.into()),
    );
    let authorities = file("ca.crt", &root.bundle().datastore_pem());
    let others = file("others.crt", &stranger.bundle().datastore_pem());
    let certificate = file("tls.crt", &own.chain_pem());
    let key = file("tls.key", &own.key.private_key_pem());
    let client = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &*certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &*key),
    ];
    let verified_by = |file| ("OTEL_EXPORTER_OTLP_CERTIFICATE", file);

    // Whom nobody vouches for is told nothing, and whoever shows nothing isn't heard.
    told(port, &[verified_by(&*others), client[0], client[1]]).await;
    told(port, &[verified_by(&*authorities)]).await;
    assert_eq!(seen.spans(), []);

    told(port, &[verified_by(&*authorities), client[0], client[1]]).await;
    let heard = seen.spans();
    assert!(
        heard.iter().any(|span| span.service == "traced"),
        "{heard:?}"
    );
}
