//! Export of traces, metrics and logs over OTLP (gRPC).
//!
//! The standard variables configure it: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_METRIC_EXPORT_INTERVAL`, …

use super::sampling::{Keeper, Rule};
use super::{is_of_the_exporter, metrics};
use crate::error::Error;
use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use std::fmt::Debug;
use std::time::{Duration, SystemTime};
use tonic::transport::Channel;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// The exporters of one process.
#[derive(Debug)]
pub(super) struct Exporters {
    pub(super) traces: SdkTracerProvider,
    pub(super) logs: SdkLoggerProvider,
    pub(super) metrics: Option<metrics::Exporter>,
}

impl Exporters {
    /// Exports over `collector` what `rule` lets through.
    pub(super) fn new(name: &'static str, rule: Rule, collector: Channel) -> Result<Self, Error> {
        let resource = resource(name);
        let traces = traces(name, rule, collector.clone())?;
        let metrics = metrics::Exporter::new(&resource, collector.clone())?;
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(
                LogExporter::builder()
                    .with_tonic()
                    .with_channel(collector)
                    .build()
                    .map_err(failed)?,
            )
            .build();
        Ok(Self {
            traces,
            logs,
            metrics,
        })
    }

    /// Sends what is still buffered. Blocks.
    pub(super) fn shutdown(self) {
        let results = [
            self.traces.shutdown_with_timeout(SHUTDOWN_LIMIT),
            self.logs.shutdown_with_timeout(SHUTDOWN_LIMIT),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "telemetry was not all sent");
        }
    }
}

/// Exports the traces that `rule` lets through over `collector`, and carries their context on.
pub(super) fn traces(
    name: &'static str,
    rule: Rule,
    collector: Channel,
) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(collector)
        .build()
        .map_err(failed)?;
    let traces = SdkTracerProvider::builder()
        .with_resource(resource(name))
        .with_sampler(rule.clone())
        .with_span_processor(Keeper::new(
            BatchSpanProcessor::builder(exporter).build(),
            rule,
        ))
        .build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(traces.clone());
    Ok(traces)
}

fn resource(name: &'static str) -> Resource {
    Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.namespace", "sextant"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

fn failed(error: ExporterBuildError) -> Error {
    Error::Telemetry(error.to_string())
}

/// Sends events as OTLP log records.
pub(super) struct LogLayer {
    logger: SdkLogger,
}

impl LogLayer {
    pub(super) fn new(provider: &SdkLoggerProvider) -> Self {
        Self {
            logger: provider.logger("sextant"),
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if is_of_the_exporter(metadata) {
            return;
        }
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_target(metadata.target());
        record.set_severity_text(metadata.level().as_str());
        record.set_severity_number(match *metadata.level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warn,
            Level::INFO => Severity::Info,
            Level::DEBUG => Severity::Debug,
            Level::TRACE => Severity::Trace,
        });
        event.record(&mut Fields(&mut record));
        if let Some(span) = super::current_span() {
            record.set_trace_context(span.trace_id(), span.span_id(), Some(span.trace_flags()));
        }
        self.logger.emit(record);
    }
}

struct Fields<'a>(&'a mut SdkLogRecord);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<AnyValue>) {
        if field.name() == "message" {
            self.0.set_body(value.into());
        } else {
            self.0.add_attribute(field.name(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}
