//! W3C trace context in HTTP headers and gRPC metadata.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Writes the context of `span` into headers, and gives the trace if it is exported. Nothing is written when traces aren't
/// exported.
pub fn inject(span: &Span, headers: &mut HeaderMap) -> Option<TraceId> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Headers(headers));
    });
    exported(&context)
}

/// [`inject`] of the current span for gRPC metadata that our channels don't see.
pub fn inject_metadata(metadata: &mut MetadataMap) {
    let mut headers = std::mem::take(metadata).into_headers();
    inject(&Span::current(), &mut headers);
    *metadata = MetadataMap::from_headers(headers);
}

/// Makes the headers' context the parent of `span`, which must not have been entered, and gives the trace if it is exported.
pub fn extract(headers: &HeaderMap, span: &Span) -> Option<TraceId> {
    if span.is_disabled() {
        return None;
    }
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeadersRef(headers))
    });
    if !parent.span().span_context().is_valid() {
        return exported(&span.context());
    }
    // What the caller decided holds.
    let trace = exported(&parent);
    // Fails only for a span that was entered.
    let _ = span.set_parent(parent);
    trace
}

fn exported(context: &Context) -> Option<TraceId> {
    let span = context.span();
    let context = span.span_context();
    context.is_sampled().then(|| context.trace_id())
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            self.0.insert(name, value);
        }
    }
}

struct HeadersRef<'a>(&'a HeaderMap);

impl Extractor for HeadersRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
