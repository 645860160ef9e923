//! One span, and the lines that spans come in.
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names a pod on kubelet's spans and on ours.
pub(super) const POD_UID: &str = "k8s.pod.uid";
/// OTLP's number for a span that failed.
const ERROR: i64 = 2;

/// What one part did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// The process' name, e.g. `supervisor`.
    pub service: String,
    /// The machine it ran on, where that is told: nodes have processes of the same name.
    pub host: String,
    /// What was done.
    pub name: String,
    /// Thirty-two hexadecimal digits.
    pub trace: String,
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// Sixteen hexadecimal digits; empty for a root.
    pub parent: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Why it failed, if it did; may be empty.
    pub error: Option<String>,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Spans of other traces that it belongs to, too.
    pub links: Vec<Link>,
}

/// Names a span of another trace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Its trace.
    #[serde(rename = "traceId")]
    pub trace: String,
    /// Itself.
    #[serde(rename = "spanId")]
    pub span: String,
}

impl Span {
    /// Whether an attribute has this value.
    pub fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes
            .get(attribute)
            .is_some_and(|found| found == value)
    }

    /// Whether it belongs to trace `id` although it is in another: it is linked to it, or waits for the policy of the same
    /// pod, and got no context from whoever started it.
    pub fn belongs_to(&self, id: &str, pod: Option<&str>) -> bool {
        self.links.iter().any(|link| link.trace == id)
            || (self.name == "ensure_policy" && pod.is_some_and(|uid| self.is(POD_UID, uid)))
    }

    /// The spans of one line. A line that is none, such as a half-written last one, holds none.
    pub fn read(line: &str) -> Vec<Self> {
        let Ok(export) = serde_json::from_str::<Export>(line) else {
            return Vec::new();
        };
        let mut spans = Vec::new();
        for resource in export.resource_spans {
            let attributes = texts(resource.resource.attributes);
            let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
            let (service, host) = (of("service.name"), of("host.name"));
            let raw = resource.scope_spans.into_iter().flat_map(|s| s.spans);
            spans.extend(raw.map(|raw| Self {
                service: service.clone(),
                host: host.clone(),
                name: raw.name,
                trace: raw.trace_id,
                id: raw.span_id,
                parent: raw.parent_span_id,
                start: raw.start_time_unix_nano,
                end: raw.end_time_unix_nano,
                error: (raw.status.code == ERROR).then_some(raw.status.message),
                attributes: texts(raw.attributes),
                links: raw.links,
            }));
        }
        spans
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ScopeSpans {
    spans: Vec<Raw>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    name: String,
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    #[serde(deserialize_with = "nanoseconds")]
    start_time_unix_nano: u64,
    #[serde(deserialize_with = "nanoseconds")]
    end_time_unix_nano: u64,
    attributes: Vec<Attribute>,
    links: Vec<Link>,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

/// JSON has no 64-bit integers, so OTLP writes them as text; a number is taken, too.
fn nanoseconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => text.parse().map_err(de::Error::custom),
        Value::Number(number) => number.as_u64().ok_or_else(|| de::Error::custom("negative")),
        _ => Err(de::Error::custom("neither text nor number")),
    }
}

/// `{"stringValue":"x"}` and the like: the value alone.
fn texts(attributes: Vec<Attribute>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::Object(kinds) => match kinds.into_iter().next() {
            Some((_, Value::String(text))) => text,
            Some((_, value)) => value.to_string(),
            None => String::new(),
        },
        _ => String::new(),
    };
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text(attribute.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_collector_writes() {
        let line = r#"{"resourceSpans":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"containerd"}},
            {"key":"host.name","value":{"stringValue":"node-1"}}]},
            "scopeSpans":[{"scope":{},"spans":[{"traceId":"t","spanId":"s","parentSpanId":"p","name":"n","kind":1,
            "startTimeUnixNano":"17","endTimeUnixNano":"19","attributes":[
            {"key":"a","value":{"intValue":"3"}},{"key":"b","value":{"boolValue":true}}],
            "links":[{"traceId":"u","spanId":"v"}],"status":{"code":2,"message":"it broke"}}]}]}]}"#;
        let spans = Span::read(line);
        let [span] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!((&*span.service, &*span.host), ("containerd", "node-1"));
        assert_eq!((span.start, span.end), (17, 19));
        assert_eq!(span.error.as_deref(), Some("it broke"));
        assert!(span.is("a", "3") && span.is("b", "true") && !span.is("c", ""));
        assert_eq!(span.links[0].trace, "u");
    }

    #[test]
    fn a_line_that_is_none_holds_none() {
        let half = r#"{"resourceSpans":[{"resource":{"attributes":["#;
        for line in ["", half, "{}", "[]", r#"{"resourceLogs":[]}"#] {
            assert_eq!(Span::read(line), [], "{line}");
        }
    }
}
