//! Telemetry over mutual TLS: it waits for an identity, and goes to the collector alone.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use sextant_identity::{ClientAuth, Limits, ServiceName, serve_http};
use sextant_kit::telemetry::{Traces, collector};
use sextant_kit::{Drain, DrainTrigger};
use sextant_testkit::{Collector, Root, eventually};
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A collector at `address` that shows the certificate of `name`.
async fn serve(
    root: &Root,
    name: ServiceName,
    address: SocketAddr,
) -> (Collector, DrainTrigger, tokio::task::JoinHandle<()>) {
    let listener = sextant_kit::net::bind(address).await.unwrap();
    let seen = Collector::start().await;
    let tls = root.mesh(name).server_tls(ClientAuth::Required);
    let app = seen.routes().into_axum_router();
    let (drain, trigger) = Drain::new();
    let serving = tokio::spawn(async move {
        let served = serve_http(listener, tls, app, Limits::default(), drain).await;
        served.unwrap();
    });
    (seen, trigger, serving)
}

#[tokio::test]
async fn spans_wait_for_an_identity_and_go_to_the_collector_alone() {
    let root = Root::new();
    let address = ([127, 0, 0, 1], sextant_testkit::free_port()).into();
    let traces = Traces::init("early", &format!("https://{address}"));
    tracing::info_span!("before there was an identity").in_scope(|| {});

    // Somebody else of the mesh is no collector.
    let (other, end, ended) = serve(&root, ServiceName::Supervisor, address).await;
    root.mesh(ServiceName::TokenService).secure_telemetry();
    let mut client = TraceServiceClient::new(collector::channel().unwrap());
    let refused = client.export(ExportTraceServiceRequest::default()).await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("service/collector"), "{refused}");
    end.start();
    ended.await.unwrap();

    let (seen, ..) = serve(&root, ServiceName::Collector, address).await;
    eventually(DEADLINE, "an export to the collector", || {
        let mut client = client.clone();
        async move { client.export(ExportTraceServiceRequest::default()).await }
    })
    .await;
    traces.shutdown().await;
    let early = |span: &sextant_testkit::Span| span.name == "before there was an identity";
    assert!(seen.spans().iter().any(early), "{:?}", seen.spans());
    assert_eq!(other.spans(), []);
}
