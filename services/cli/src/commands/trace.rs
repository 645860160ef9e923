//! `sextant trace …`
use crate::output::quantity::seconds;
use crate::output::{Table, View, shown};
use crate::trace::{Branch, Trace};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Characters of a statement that stand beside its span; `-o json` has all of them.
const LONGEST_STATEMENT: usize = 100;

/// A trace as a tree with times.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceView {
    trace: String,
    began: String,
    services: BTreeSet<String>,
    span_count: usize,
    spans: Vec<SpanView>,
    /// What is linked to it: each has a trace of its own.
    linked: Vec<SpanView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanView {
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    span: String,
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    name: String,
    /// Seconds after the trace began.
    start_seconds: f64,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    orphan: bool,
    /// Traces that it is linked to, without their spans.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<SpanView>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl TraceView {
    /// Makes all times relative to the trace's first.
    #[must_use]
    pub fn new(trace: Trace) -> Self {
        let start = trace.start();
        let began = OffsetDateTime::from_unix_timestamp_nanos(start.into()).ok();
        let began = began.and_then(|began| began.format(&Rfc3339).ok());
        let services = trace.spans().map(|span| span.service.clone()).collect();
        let span_count = trace.spans().count();
        let view = |branch: Branch| SpanView::new(branch, start, &trace.id);
        let linked = trace.linked.into_iter().map(|branch| {
            let id = branch.span.trace.clone();
            SpanView {
                trace: Some(id),
                ..view(branch)
            }
        });
        Self {
            began: began.unwrap_or_default(),
            services,
            span_count,
            linked: linked.collect(),
            spans: trace.roots.into_iter().map(view).collect(),
            trace: trace.id.clone(),
        }
    }
}

impl SpanView {
    fn new(branch: Branch, start: u64, trace: &str) -> Self {
        let Branch {
            span,
            orphan,
            children,
        } = branch;
        let links = span.links.into_iter().map(|link| link.trace);
        Self {
            trace: None,
            span: span.id,
            service: span.service,
            host: span.host,
            name: span.name,
            start_seconds: between(start, span.start),
            duration_seconds: between(span.start, span.end),
            error: span.error,
            orphan,
            links: links.filter(|link| link != trace).collect(),
            attributes: span.attributes,
            children: children
                .into_iter()
                .map(|child| Self::new(child, start, trace))
                .collect(),
        }
    }

    /// Its own row and those below it; `stem` is what stands before its name, `below` before those of its children.
    fn rows(&self, stem: &str, below: &str, table: &mut Table) {
        let mut text = format!("{stem}{}", self.name);
        if let Some(error) = &self.error {
            text.push_str(&format!("  FAILED: {error}"));
        }
        if self.orphan {
            text.push_str("  (its parent is missing)");
        }
        for link in &self.links {
            text.push_str(&format!("  → {link}"));
        }
        if let Some(statement) = self.attributes.get("db.query.text") {
            text.push_str(&format!("  {}", one_line(statement)));
        }
        let service = match self.host.as_str() {
            "" => self.service.clone(),
            host => format!("{} on {host}", self.service),
        };
        table.row([
            seconds_after(self.start_seconds),
            seconds(self.duration_seconds),
            service,
            text,
        ]);
        branches(&self.children, below, table);
    }
}

/// A statement without its line breaks and indents, and not all of a long one.
fn one_line(statement: &str) -> String {
    let words: Vec<_> = statement.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST_STATEMENT) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn branches(spans: &[SpanView], below: &str, table: &mut Table) {
    for (index, span) in spans.iter().enumerate() {
        let (stem, next) = match index + 1 == spans.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        span.rows(&format!("{below}{stem}"), &format!("{below}{next}"), table);
    }
}

/// Nanoseconds, as seconds; clocks of two machines differ, so it may be negative.
#[expect(clippy::cast_precision_loss, reason = "a trace lasts minutes at most")]
fn between(from: u64, to: u64) -> f64 {
    let distance = from.abs_diff(to) as f64 / 1e9;
    if to < from { -distance } else { distance }
}

fn seconds_after(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 0.0 => format!("-{}", seconds(-value)),
        value => format!("+{}", seconds(value)),
    }
}

impl View for TraceView {
    fn table(&self, _now: OffsetDateTime) -> String {
        let services: Vec<_> = self.services.iter().map(|name| shown(name)).collect();
        let mut text = format!(
            "Trace {}, {} spans, began {}\nThrough {}\n\n",
            self.trace,
            self.span_count,
            self.began,
            services.join(", ")
        );
        let mut table = Table::new(&["START", "TIME", "SERVICE", "SPAN"]);
        self.spans
            .iter()
            .for_each(|span| span.rows("", "", &mut table));
        for span in &self.linked {
            let stem = format!("⇢ {} ", span.trace.as_deref().unwrap_or_default());
            span.rows(&stem, "  ", &mut table);
        }
        text += &table.render();
        text
    }
}
