//! The measure of one call: from its start until its status is known, which for gRPC is in the trailers.

use super::{UnknownMethod, is_grpc};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::trace::TraceId;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
use tonic::{Code, Status};
use tracing::{Level, Span};

pub(crate) fn register(registry: &mut Registry) {
    for side in [&CLIENT, &SERVER] {
        let name = side.name;
        registry.register_with_unit(
            format!("rpc_{name}_duration"),
            format!("Time from the start to the end of a call on the {name}'s side"),
            Unit::Seconds,
            side.duration.clone(),
        );
        registry.register(
            format!("rpc_{name}_open"),
            format!("Calls that are open on the {name}'s side"),
            side.open.clone(),
        );
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    method: Arc<str>,
    code: Code,
    /// On the server's side.
    caller: Option<&'static str>,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let code = format!("{:?}", self.code);
        ("method", &*self.method).encode(encoder.encode_label())?;
        ("code", code).encode(encoder.encode_label())?;
        match self.caller {
            Some(caller) => ("caller", caller).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

/// The trace that a call belongs to.
#[derive(Clone, Copy, Debug)]
struct OfTrace(TraceId);

impl EncodeLabelSet for OfTrace {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("trace_id", self.0.to_string()).encode(encoder.encode_label())
    }
}

/// Each bucket keeps the trace of the last call in it that is exported.
type Duration = HistogramWithExemplars<OfTrace>;

pub(super) struct Side {
    name: &'static str,
    duration: Family<Labels, Duration>,
    open: Gauge,
}

pub(super) static CLIENT: LazyLock<Side> = LazyLock::new(|| Side::new("client"));
pub(super) static SERVER: LazyLock<Side> = LazyLock::new(|| Side::new("server"));

/// From a cached read to a slow join; streams that live longer fall into the last bucket.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

impl Side {
    fn new(name: &'static str) -> Self {
        let duration =
            Family::new_with_constructor((|| Duration::new(BUCKETS.into_iter())) as fn() -> _);
        Self {
            name,
            duration,
            open: Gauge::default(),
        }
    }
}

/// One call, from its start until its status is known; dropped before that, it was cancelled.
pub(super) struct Observed {
    side: &'static Side,
    method: Arc<str>,
    /// Who calls, where that is known: on the server's side.
    caller: Option<&'static str>,
    span: Span,
    /// The trace of the call, if it is exported.
    pub(super) trace: Option<TraceId>,
    start: Instant,
    done: bool,
}

impl Observed {
    pub(super) fn new(
        side: &'static LazyLock<Side>,
        method: &str,
        caller: Option<&'static str>,
        span: Span,
    ) -> Self {
        let side = LazyLock::force(side);
        side.open.inc();
        Self {
            side,
            method: method.into(),
            caller,
            span,
            trace: None,
            start: Instant::now(),
            done: false,
        }
    }

    /// Ends with the status in the headers, or when the body ends.
    pub(super) fn response<B, T>(
        mut self,
        response: http::Response<B>,
        wrap: impl FnOnce(ObservedBody<B>) -> T,
    ) -> http::Response<T> {
        let status = grpc_status(response.headers());
        // Anybody can make up names, so those that nobody serves are one.
        let is_served = status != Some(Code::Unimplemented)
            && response.status() != http::StatusCode::NOT_FOUND
            && response.extensions().get::<UnknownMethod>().is_none();
        if !is_served && self.method.starts_with('/') {
            self.method = "unknown".into();
        }
        let expected = match status {
            Some(code) => {
                self.finish(code);
                code
            }
            None if is_grpc(response.headers()) => Code::Unknown,
            None => {
                let code = code_of_http(response.status());
                let status = response.status().as_u16();
                self.span.record("http.response.status_code", status);
                self.finish(code);
                code
            }
        };
        response.map(|body| {
            wrap(ObservedBody {
                body,
                observed: self,
                expected,
            })
        })
    }

    pub(super) fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let labels = Labels {
            method: Arc::clone(&self.method),
            code,
            caller: self.caller,
        };
        let trace = self.trace.map(OfTrace);
        let at = trace.is_some().then(SystemTime::now);
        let duration = self.side.duration.get_or_create(&labels);
        duration.observe(seconds, trace, at);
        drop(duration);
        self.side.open.dec();
        self.span.record("rpc.grpc.status_code", code as i32);
        if is_fault(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        if tracing::event_enabled!(Level::DEBUG) {
            let _entered = self.span.enter();
            let (side, method, caller) = (self.side.name, &*self.method, self.caller);
            tracing::debug!(side, method, caller, ?code, seconds, "call ended");
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

/// A response body that ends its call.
pub(super) struct ObservedBody<B> {
    body: B,
    observed: Observed,
    /// What a body without trailers means.
    expected: Code,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let body = Pin::new(&mut this.body);
        let polled = this.observed.span.in_scope(|| body.poll_frame(cx));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.observed
                        .finish(grpc_status(trailers).unwrap_or(this.expected));
                }
            }
            Poll::Ready(Some(Err(_))) => this.observed.finish(Code::Unavailable),
            Poll::Ready(None) => this.observed.finish(this.expected),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedBody").finish_non_exhaustive()
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}

fn code_of_http(status: http::StatusCode) -> Code {
    match status.as_u16() {
        200..=399 => Code::Ok,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 | 503 => Code::Unavailable,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// Codes that mean something is broken, as opposed to answers that a caller may expect.
fn is_fault(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        DataLoss | DeadlineExceeded | Internal | Unavailable | Unimplemented | Unknown
    )
}
