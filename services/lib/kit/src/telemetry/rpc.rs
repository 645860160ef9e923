//! What every RPC is traced and measured by, on both sides.

mod observed;

pub(crate) use observed::register;

use super::propagation;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use observed::{CLIENT, Observed, SERVER};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Code;
use tonic::body::Body;
use tower::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// A response extension: the called method doesn't exist, so its name must not become a label.
#[derive(Clone, Copy, Debug)]
pub struct UnknownMethod;

/// A request extension: who calls, as a label. There may be few of them, so all nodes are one.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub &'static str);

/// The label of callers without an identity of ours.
const ANONYMOUS: &str = "anonymous";

/// Observes the calls of a gRPC channel: client span, trace context in the metadata, metrics.
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
}

impl<S> Client<S> {
    /// Around `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<http::Request<Body>> for Client<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let span = rpc_span("client", path, None);
        let mut observed = Observed::new(&CLIENT, path, None, span.clone());
        observed.trace = propagation::inject(&span, request.headers_mut());
        let call = span.in_scope(|| self.inner.call(request));
        let observe = async move {
            match call.await {
                Ok(response) => Ok(observed.response(response, Body::new)),
                Err(error) => {
                    observed.finish(Code::Unavailable);
                    Err(error)
                }
            }
        };
        Box::pin(observe.instrument(span))
    }
}

/// Middleware of servers: server span whose parent is the caller's, metrics. For gRPC and plain HTTP alike.
pub async fn observe(request: Request, next: Next) -> Response {
    let grpc = is_grpc(request.headers());
    let caller = request.extensions().get::<Caller>();
    let caller = caller.map_or(ANONYMOUS, |caller| caller.0);
    let path = request.uri().path();
    let (method, span) = if grpc {
        (path, rpc_span("server", path, Some(caller)))
    } else {
        let method = http_method(request.method());
        let span = tracing::info_span!(
            "http",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = request.method().as_str(),
            http.response.status_code = Empty,
            url.path = path,
            client.identity = caller,
        );
        (method, span)
    };
    let mut observed = Observed::new(&SERVER, method, Some(caller), span.clone());
    observed.trace = propagation::extract(request.headers(), &span);
    let response = next.run(request).instrument(span).await;
    observed.response(response, axum::body::Body::new)
}

/// The span of a gRPC call to `path`, which is `/package.Service/Method`. Servers know who calls.
fn rpc_span(kind: &'static str, path: &str, caller: Option<&'static str>) -> Span {
    let called = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let (service, method) = called.unzip();
    tracing::info_span!(
        "rpc",
        otel.name = path,
        otel.kind = kind,
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        client.identity = caller,
    )
}

/// Methods that nobody defined are one: a caller can make up any.
fn http_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "HTTP CONNECT",
        "DELETE" => "HTTP DELETE",
        "GET" => "HTTP GET",
        "HEAD" => "HTTP HEAD",
        "OPTIONS" => "HTTP OPTIONS",
        "PATCH" => "HTTP PATCH",
        "POST" => "HTTP POST",
        "PUT" => "HTTP PUT",
        "TRACE" => "HTTP TRACE",
        _ => "HTTP other",
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
