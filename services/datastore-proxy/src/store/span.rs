//! Spans of what databases are asked, with the names of OpenTelemetry's semantic conventions.

use sextant_kit::telemetry;
use std::borrow::Cow;
use tracing::Span;
use tracing::field::Empty;

/// The longest text of a statement in a span, in bytes.
const LONGEST: usize = 2048;

/// Why a statement failed whose answer wasn't what was expected.
pub(super) const DRIVER: &str = "driver";
/// Why one failed that the database didn't answer in time.
pub(super) const TIMEOUT: &str = "timeout";
/// Why one failed whose connection was lost, or never there.
pub(super) const CONNECTION: &str = "connection";

/// The span of one statement or transaction. `doing` is a few words for it. `text` is what is asked, with a placeholder
/// for each value: no value may be in it. It is only asked for where traces are exported.
pub(super) fn statement<T>(system: &'static str, doing: &str, text: impl FnOnce() -> T) -> Span
where
    T: Into<Cow<'static, str>>,
{
    let span = tracing::info_span!(
        "statement",
        otel.name = doing,
        otel.kind = "client",
        db.system.name = system,
        db.query.summary = doing,
        db.response.status_code = Empty,
        "error.type" = Empty,
    );
    telemetry::describe(&span, "db.query.text", || bounded(text().into()));
    span
}

/// Notes that the statement failed: with the database's own code, or for another reason. Its message stays out, since
/// databases name values in it.
pub(super) fn fail(span: &Span, code: Option<&str>, otherwise: &'static str) {
    if let Some(code) = code {
        span.record("db.response.status_code", code);
    }
    let kind = code.unwrap_or(otherwise);
    span.record("error.type", kind);
    telemetry::fail(span, kind);
}

fn bounded(mut text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text = format!("{}…", text.get(..end).unwrap_or_default()).into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded("SELECT 1".into()), "SELECT 1");
        let long = "ä".repeat(LONGEST);
        let cut = bounded(format!("x{long}").into());
        assert_eq!(cut.len(), LONGEST - 1 + "…".len());
        assert!(cut.ends_with("ä…"));
    }
}
