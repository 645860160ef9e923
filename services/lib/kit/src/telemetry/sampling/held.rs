//! Spans of traces that aren't sampled, until it is known whether they are wanted.

use opentelemetry::trace::{SpanId, Status, TraceId};
use opentelemetry_sdk::trace::SpanData;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// Traces of which something is held; the oldest gives way.
const TRACES: usize = 256;
/// Spans that are held of one trace; the oldest give way.
const SPANS_OF_A_TRACE: usize = 64;
/// Spans that are held at all; those of the oldest traces give way. One takes about a kilobyte.
const SPANS: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Held {
    traces: HashMap<TraceId, Trace>,
    /// The traces, the oldest first.
    order: VecDeque<TraceId>,
    spans: usize,
}

#[derive(Debug, Default)]
struct Trace {
    spans: VecDeque<SpanData>,
    /// Something of it failed or was slow: the rest of it is wanted, too.
    wanted: bool,
}

impl Held {
    /// Notes that `span` ended, and gives what is to be exported now.
    pub(super) fn end(&mut self, span: SpanData, slow: Duration) -> Vec<SpanData> {
        let id = span.span_context.trace_id();
        let root = is_first_here(&span);
        let notable = is_notable(&span, slow);
        let known = self.traces.contains_key(&id);
        if root && !known {
            // Nothing below it was held: the most frequent case by far.
            return Vec::from_iter(notable.then_some(span));
        }
        if !known {
            self.make_room(TRACES - 1, SPANS);
            self.order.push_back(id);
        }
        let trace = self.traces.entry(id).or_default();
        let before = trace.spans.len();
        trace.wanted |= notable;
        let wanted = if trace.wanted {
            let mut wanted = Vec::from(std::mem::take(&mut trace.spans));
            wanted.push(span);
            wanted
        } else if root {
            forget_below(&mut trace.spans, span.span_context.span_id());
            Vec::new()
        } else {
            if before >= SPANS_OF_A_TRACE {
                trace.spans.pop_front();
            }
            trace.spans.push_back(span);
            Vec::new()
        };
        self.spans = self.spans - before + trace.spans.len();
        if root && trace.spans.is_empty() {
            self.forget(id);
        }
        self.make_room(TRACES, SPANS);
        wanted
    }

    fn make_room(&mut self, traces: usize, spans: usize) {
        while self.traces.len() > traces || self.spans > spans {
            let Some(oldest) = self.order.front().copied() else {
                return;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: TraceId) {
        if let Some(trace) = self.traces.remove(&id) {
            self.spans -= trace.spans.len();
        }
        // Never among many.
        self.order.retain(|other| *other != id);
    }
}

/// Whether it is the first of its trace in this process; what is below it has ended before, as a rule.
fn is_first_here(span: &SpanData) -> bool {
    span.parent_span_is_remote || span.parent_span_id == SpanId::INVALID
}

fn is_notable(span: &SpanData, slow: Duration) -> bool {
    let took = span.end_time.duration_since(span.start_time);
    matches!(span.status, Status::Error { .. }) || took.is_ok_and(|took| took >= slow)
}

/// Drops what is below `root`. Others of the same trace may be under way here, whose spans stay.
fn forget_below(spans: &mut VecDeque<SpanData>, root: SpanId) {
    let mut below = HashSet::from([root]);
    // A span ends after what is below it, so from the last to the first each comes after its parent.
    for span in spans.iter().rev() {
        if below.contains(&span.parent_span_id) {
            below.insert(span.span_context.span_id());
        }
    }
    spans.retain(|span| !below.contains(&span.span_context.span_id()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{SpanContext, SpanKind, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use std::time::SystemTime;

    const SLOW: Duration = Duration::from_secs(1);

    /// `parent` 0 is none.
    fn span(trace: u128, id: u64, parent: u64) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(trace),
                SpanId::from(id),
                TraceFlags::default(),
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: id.to_string().into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn failed(mut span: SpanData) -> SpanData {
        span.status = Status::error("broken");
        span
    }

    fn ids(spans: Vec<SpanData>) -> Vec<u64> {
        let id = |span: SpanData| u64::from_be_bytes(span.span_context.span_id().to_bytes());
        spans.into_iter().map(id).collect()
    }

    fn end(held: &mut Held, span: SpanData) -> Vec<u64> {
        ids(held.end(span, SLOW))
    }

    #[test]
    fn what_went_well_is_dropped() {
        let mut held = Held::default();
        assert!(end(&mut held, span(1, 3, 2)).is_empty());
        assert!(end(&mut held, span(1, 2, 1)).is_empty());
        assert!(end(&mut held, span(1, 1, 0)).is_empty());
        assert!(held.traces.is_empty() && held.order.is_empty());
        assert_eq!(held.spans, 0);
    }

    #[test]
    fn a_failure_brings_what_is_around_it() {
        let mut held = Held::default();
        assert!(end(&mut held, span(1, 4, 2)).is_empty());
        assert_eq!(end(&mut held, failed(span(1, 3, 2))), [4, 3]);
        assert_eq!(end(&mut held, span(1, 2, 1)), [2]);
        assert_eq!(end(&mut held, span(1, 1, 0)), [1]);
        assert!(held.traces.is_empty());
        // The next of the same trace begins afresh.
        assert!(end(&mut held, span(1, 9, 0)).is_empty());
    }

    #[test]
    fn slow_is_as_good_as_failed() {
        let mut held = Held::default();
        let mut slow = span(1, 1, 7);
        slow.parent_span_is_remote = true;
        slow.end_time += SLOW;
        assert!(end(&mut held, span(1, 2, 1)).is_empty());
        assert_eq!(end(&mut held, slow), [2, 1]);
    }

    #[test]
    fn a_call_that_went_well_leaves_what_another_of_its_trace_holds() {
        let mut held = Held::default();
        end(&mut held, span(1, 12, 11));
        end(&mut held, span(1, 22, 21));
        end(&mut held, span(1, 11, 10));
        assert!(end(&mut held, span(1, 10, 0)).is_empty());
        assert_eq!(held.spans, 1);
        assert_eq!(end(&mut held, failed(span(1, 21, 0))), [22, 21]);
        assert_eq!(held.spans, 0);
    }

    #[test]
    fn what_never_ends_is_bounded() {
        let mut held = Held::default();
        for trace in 1..=2 * TRACES as u128 {
            for id in 1..=SPANS_OF_A_TRACE as u64 + 5 {
                end(&mut held, span(trace, id, 99));
            }
        }
        assert!(held.traces.len() <= TRACES && held.spans <= SPANS);
        assert_eq!(held.order.len(), held.traces.len());
        let all: usize = held.traces.values().map(|trace| trace.spans.len()).sum();
        assert_eq!(held.spans, all);
    }
}
