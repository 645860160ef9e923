//! Spans of what databases are asked, with the names of OpenTelemetry's semantic conventions.

use tracing::Span;

/// The span of one statement or transaction. `doing` is a few words that hold nothing of what is stored.
pub(super) fn statement(system: &'static str, doing: &str) -> Span {
    tracing::info_span!(
        "statement",
        otel.name = doing,
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = doing,
    )
}
