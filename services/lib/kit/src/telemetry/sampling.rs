//! Which traces are exported: a share of those that begin here, those whose caller exports them, and whatever failed
//! or was slow.
//!
//! What isn't in the share is recorded all the same and held until its first span in this process ends: only then is it
//! known whether something of it failed.

mod held;

use held::Held;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, ShouldSample, Span, SpanData, SpanProcessor,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A span that takes this long is slow, unless told otherwise.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The rule in force. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Rule(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    ratio_bits: AtomicU64,
    slow_millis: AtomicU64,
}

impl Rule {
    pub(super) fn new(ratio: f64, slow: Duration) -> Self {
        let rule = Self(Arc::new(Numbers {
            ratio_bits: AtomicU64::new(0),
            slow_millis: AtomicU64::new(0),
        }));
        rule.set(ratio, slow);
        rule
    }

    pub(super) fn set(&self, ratio: f64, slow: Duration) {
        let millis = u64::try_from(slow.as_millis()).unwrap_or(u64::MAX);
        self.0.ratio_bits.store(ratio.to_bits(), Ordering::Relaxed);
        self.0.slow_millis.store(millis, Ordering::Relaxed);
    }

    fn ratio(&self) -> f64 {
        f64::from_bits(self.0.ratio_bits.load(Ordering::Relaxed))
    }

    fn slow(&self) -> Duration {
        Duration::from_millis(self.0.slow_millis.load(Ordering::Relaxed))
    }
}

/// The share that the standard variables ask for. A caller's decision always goes before it.
pub(super) fn ratio_of_environment() -> Result<f64, String> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (name, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    ratio(&variable(name), &variable(argument)).map_err(|(sampler, reason)| {
        let wrong = if sampler { name } else { argument };
        format!("{wrong}: {reason}")
    })
}

fn ratio(sampler: &str, argument: &str) -> Result<f64, (bool, String)> {
    match sampler.trim_start_matches("parentbased_") {
        "" | "always_on" => Ok(1.0),
        "always_off" => Ok(0.0),
        "traceidratio" if argument.is_empty() => Ok(1.0),
        "traceidratio" => {
            let ratio = argument.parse().ok().filter(|r| (0.0..=1.0).contains(r));
            ratio.ok_or_else(|| (false, format!("`{argument}` is no number from 0 to 1")))
        }
        other => Err((
            true,
            format!("`{other}` isn't known: always_on, always_off or traceidratio is"),
        )),
    }
}

impl ShouldSample for Rule {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // Gives the ratio's decision, and the parent's trace state.
        let share = Sampler::TraceIdRatioBased(self.ratio());
        let mut result = share.should_sample(parent, trace, name, kind, attributes, links);
        let inherited = parent.and_then(|parent| {
            let parent = parent.span().span_context().clone();
            parent.is_valid().then(|| parent.is_sampled())
        });
        let sampled = inherited.unwrap_or(result.decision == SamplingDecision::RecordAndSample);
        result.decision = if sampled {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::RecordOnly
        };
        result
    }
}

/// Passes on to `next` what is sampled, and of the rest what turns out to be wanted.
#[derive(Debug)]
pub(super) struct Keeper<P> {
    next: P,
    rule: Rule,
    held: Mutex<Held>,
}

impl<P> Keeper<P> {
    pub(super) fn new(next: P, rule: Rule) -> Self {
        Self {
            next,
            rule,
            held: Mutex::default(),
        }
    }
}

impl<P: SpanProcessor> SpanProcessor for Keeper<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            return self.next.on_end(span);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = held.end(span, self.rule.slow());
        drop(held);
        for span in wanted {
            self.next.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    #[test]
    fn the_standard_variables() {
        assert_eq!(ratio("", ""), Ok(1.0));
        assert_eq!(ratio("parentbased_always_off", ""), Ok(0.0));
        assert_eq!(ratio("traceidratio", "0.25"), Ok(0.25));
        assert_eq!(ratio("parentbased_traceidratio", ""), Ok(1.0));
        assert!(ratio("traceidratio", "2").is_err());
        assert!(ratio("xray", "").is_err());
    }

    fn decision(rule: &Rule, parent: Option<bool>) -> SamplingDecision {
        let parent = parent.map(|sampled| {
            let flags = TraceFlags::default().with_sampled(sampled);
            let (trace, span) = (TraceId::from(1_u128), SpanId::from(1_u64));
            let of = SpanContext::new(trace, span, flags, true, TraceState::default());
            Context::new().with_remote_span_context(of)
        });
        let trace = TraceId::from(u128::MAX);
        let result = rule.should_sample(parent.as_ref(), trace, "", &SpanKind::Internal, &[], &[]);
        result.decision
    }

    #[test]
    fn the_callers_decision_goes_before_the_share() {
        use SamplingDecision::{RecordAndSample, RecordOnly};
        let rule = Rule::new(0.0, SLOW);
        assert_eq!(decision(&rule, None), RecordOnly);
        assert_eq!(decision(&rule, Some(true)), RecordAndSample);
        rule.set(1.0, SLOW);
        assert_eq!(decision(&rule, None), RecordAndSample);
        assert_eq!(decision(&rule, Some(false)), RecordOnly);
    }
}
