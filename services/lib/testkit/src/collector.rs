//! An OpenTelemetry collector in memory: what processes export over OTLP, for tests to look at.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// A collector on loopback, for the life of the test.
#[derive(Clone)]
pub struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Default)]
struct Seen {
    spans: Vec<Span>,
    metrics: Vec<String>,
    logs: Vec<String>,
    /// Written out only when somebody asks.
    requests: Vec<Arc<dyn Debug + Send + Sync>>,
}

/// An exported span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Name of the process that exported it.
    pub service: String,
    /// Its own name.
    pub name: String,
    /// OTLP's numbers: 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Sixteen bytes.
    pub trace_id: Vec<u8>,
    /// Eight bytes.
    pub span_id: Vec<u8>,
    /// Eight bytes; empty for a root.
    pub parent: Vec<u8>,
    /// Attributes as text, by their names.
    pub attributes: BTreeMap<String, String>,
    /// Traces and spans that it is linked to.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it says that it failed.
    pub failed: bool,
}

impl Collector {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let collector = Self {
            address,
            seen: Arc::default(),
        };
        let server = tonic::transport::Server::builder().add_routes(collector.routes());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        collector
    }

    /// Its services, for another listener than its own.
    pub fn routes(&self) -> Routes {
        Routes::new(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()))
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` must say.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.seen().spans
    }

    /// Names of all metrics so far, as `service/name`.
    pub fn metrics(&self) -> Vec<String> {
        self.seen().metrics
    }

    /// Bodies of all logs so far, as `service: body`.
    pub fn logs(&self) -> Vec<String> {
        self.seen().logs
    }

    /// Everything that was exported so far, attributes included, one text for each request.
    pub fn texts(&self) -> Vec<String> {
        let seen = self.seen();
        let requests = seen.requests.iter();
        requests.map(|request| format!("{request:?}")).collect()
    }

    /// Begins anew.
    pub fn forget(&self) {
        self.note(|seen| *seen = Seen::default());
    }

    fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.note(|seen| seen.requests.push(Arc::new(request.clone())));
        for resource in request.resource_spans {
            let service = service(resource.resource.as_ref());
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Span {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent: span.parent_span_id,
                attributes: attributes(span.attributes),
                links: span
                    .links
                    .into_iter()
                    .map(|link| (link.trace_id, link.span_id))
                    .collect(),
                failed: span
                    .status
                    .is_some_and(|status| status.code() == StatusCode::Error),
            });
            self.note(|seen| seen.spans.extend(spans));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let request = request.into_inner();
        self.note(|seen| seen.requests.push(Arc::new(request.clone())));
        for resource in request.resource_metrics {
            let service = service(resource.resource.as_ref());
            let metrics = resource
                .scope_metrics
                .into_iter()
                .flat_map(|scope| scope.metrics);
            let names = metrics.map(|metric| format!("{service}/{}", metric.name));
            self.note(|seen| seen.metrics.extend(names));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let request = request.into_inner();
        self.note(|seen| seen.requests.push(Arc::new(request.clone())));
        for resource in request.resource_logs {
            let service = service(resource.resource.as_ref());
            let records = resource
                .scope_logs
                .into_iter()
                .flat_map(|scope| scope.log_records);
            let bodies = records.filter_map(|record| text(record.body?.value?));
            let lines = bodies.map(|body| format!("{service}: {body}"));
            self.note(|seen| seen.logs.extend(lines));
        }
        Ok(Response::new(Default::default()))
    }
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource
        .into_iter()
        .flat_map(|resource| &resource.attributes);
    let name = attributes.filter(|attribute| attribute.key == "service.name");
    let name = name
        .filter_map(|attribute| text(attribute.value.clone()?.value?))
        .next();
    name.unwrap_or_default()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let shown = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .filter_map(|one| Some((one.key, shown(one.value?.value?))))
        .collect()
}
