use super::*;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use sextant_kit::DrainTrigger;
use sextant_testkit::{Collector, eventually};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

const DEADLINE: Duration = Duration::from_secs(10);

struct Subject {
    relay: Relay,
    metrics: Metrics,
    drain: Drain,
    trigger: DrainTrigger,
    folder: tempfile::TempDir,
}

impl Subject {
    /// A relay to the collector at `endpoint`, and a component that exports to it.
    async fn new(endpoint: String) -> (Self, TraceServiceClient<Channel>) {
        let (drain, trigger) = Drain::new();
        let (metrics, folder) = (Metrics::new(), tempfile::tempdir().unwrap());
        let collector = Endpoint::from_shared(endpoint).unwrap().connect_lazy();
        let relay = Relay::to(collector, &metrics, &drain);
        let socket = folder.path().join("otlp.sock");
        relay.listen(&socket, &drain).unwrap();
        let connect = tower::service_fn(move |_: http::Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(connect).await.unwrap();
        let subject = Self {
            relay,
            metrics,
            drain,
            trigger,
            folder,
        };
        (subject, TraceServiceClient::new(channel))
    }

    fn count(&self, name: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("sextant_telemetry_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }
}

fn export(name: &str) -> ExportTraceServiceRequest {
    let service = KeyValue {
        key: "service.name".to_owned(),
        value: Some(AnyValue {
            value: Some(Any::StringValue("kubelet".to_owned())),
        }),
        ..KeyValue::default()
    };
    let span = Span {
        name: name.to_owned(),
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![service],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// A port that nobody listens on, as that of a collector that is away.
async fn nowhere() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn what_a_component_exports_reaches_the_collector_as_it_was() {
    let collector = Collector::start().await;
    let (subject, mut component) = Subject::new(collector.endpoint()).await;
    component.export(export("a pod starts")).await.unwrap();
    eventually(
        DEADLINE,
        "the export at the collector",
        async || match subject.count("relayed_exports_total") {
            1 => Ok(()),
            other => Err(other),
        },
    )
    .await;
    let spans = collector.spans();
    assert!(
        matches!(&spans[..], [span] if span.service == "kubelet" && span.name == "a pod starts"),
        "{spans:?}"
    );
    assert_eq!(subject.count("queued_exports"), 0);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(subject.folder.path().join("otlp.sock"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_component_is_answered_while_the_collector_is_away_and_memory_is_bounded() {
    let (subject, mut component) = Subject::new(nowhere().await).await;
    let large = "x".repeat(1024 * 1024);
    for _ in 0..12 {
        component.export(export(&large)).await.unwrap();
    }
    // Each is a little more than 1 MiB: seven fit into the 8 MiB.
    assert_eq!(subject.count("dropped_exports_total"), 5);
    assert!(subject.relay.budget.available_permits() < 1024 * 1024);
    let too_large = "x".repeat(MAX_EXPORT + 1);
    let refused = component.export(export(&too_large)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test]
async fn the_end_waits_for_what_is_queued_but_not_for_a_collector_that_is_away() {
    let (subject, mut component) = Subject::new(nowhere().await).await;
    component.export(export("the last")).await.unwrap();
    subject.trigger.start();
    assert!(subject.drain.is_draining());
    subject.trigger.finished().await;
}
