//! Logs, traces and metrics of the process: JSON lines on standard output always, OTLP when an endpoint is set.

pub mod collector;
mod control;
mod export;
mod filter;
mod log;
mod metrics;
pub mod propagation;
mod repeats;
pub mod rpc;
mod sampling;
mod service;

pub use control::{Control, check, control};
pub use filter::AUDIT;
pub use service::{Service, change, server};

use crate::config::{Common, LogFormat};
use crate::error::Error;
use crate::metrics::Metrics;
use control::Sampling;
use export::{Exporters, LogLayer, SHUTDOWN_LIMIT};
use opentelemetry::StringValue;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use repeats::Repeats;
use sampling::{Rule, SLOW};
use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{FilterExt as _, FilterFn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, reload};

/// Keeps the exporters until they are shut down.
#[derive(Debug)]
pub struct Telemetry {
    exporters: Option<Exporters>,
    /// What is exported beside them, and how.
    metrics: Option<(metrics::Exporter, Metrics)>,
}

impl Telemetry {
    /// Exports `metrics` too, from now until [`shutdown`](Self::shutdown).
    pub fn export(&mut self, metrics: &Metrics) {
        let exporter = self.exporters.as_ref().and_then(|all| all.metrics.clone());
        if let Some(exporter) = exporter {
            tokio::spawn(exporter.clone().send_on(metrics.clone()));
            self.metrics = Some((exporter, metrics.clone()));
        }
    }

    /// Sends what is still buffered, for at most a few seconds.
    pub async fn shutdown(self) {
        let Some(exporters) = self.exporters else {
            return;
        };
        collector::give_up();
        if let Some((exporter, metrics)) = &self.metrics {
            exporter.send(metrics, SHUTDOWN_LIMIT).await;
        }
        // The exporters block; a panic in them is no reason to fail now.
        let _ = tokio::task::spawn_blocking(|| exporters.shutdown()).await;
    }
}

/// What is counted of repeated lines, which is there before [`init`] and without it.
static REPEATS: LazyLock<Repeats> = LazyLock::new(Repeats::default);

pub(crate) fn register(registry: &mut prometheus_client::registry::Registry) {
    rpc::register(registry);
    REPEATS.register(registry);
}

/// Traces of a short-lived program whose standard output is somebody's input: it logs nothing.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sets up export to `endpoint`, if that leads anywhere. Once per process, within a runtime. A program must not fail
    /// because it isn't traced, so a failure changes nothing.
    pub fn init(name: &'static str, endpoint: &str) -> Self {
        let collector = collector::open(endpoint).ok().flatten();
        let rule = Rule::new(sampling::ratio_of_environment().unwrap_or(1.0), SLOW);
        let provider = collector.and_then(|collector| export::traces(name, rule, collector).ok());
        if let Some(provider) = &provider {
            let _ = tracing_subscriber::registry()
                .with(spans(provider))
                .try_init();
        }
        Self(provider)
    }

    /// Runs `work`, which blocks, and exports its spans to where `OTEL_EXPORTER_OTLP_ENDPOINT` leads; not into the mesh,
    /// of which a program that ends soon is no member.
    pub fn of_program<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
        let endpoint = std::env::var(collector::ENDPOINT).unwrap_or_default();
        let one = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().ok()
        };
        let wanted = !endpoint.is_empty() && !collector::needs_identity(&endpoint);
        let Some(runtime) = wanted.then(one).flatten() else {
            return work();
        };
        let traces = {
            let _entered = runtime.enter();
            Self::init(name, &endpoint)
        };
        let result = work();
        runtime.block_on(traces.shutdown());
        result
    }

    /// Sends what is buffered, for at most a second.
    pub async fn shutdown(self) {
        if let Some(provider) = self.0 {
            let shutdown = move || provider.shutdown_with_timeout(Duration::from_secs(1));
            // The exporter blocks; a failure is no reason to fail now.
            let _ = tokio::task::spawn_blocking(shutdown).await;
        }
    }
}

/// Sets up logging, and export when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Once per process, within a runtime.
pub fn init(name: &'static str, common: &Common) -> Result<Telemetry, Error> {
    let filter = filter::configured(&common.log)
        .map_err(|e| Error::Telemetry(format!("the log filter `{}`: {e}", common.log)))?;
    let sampling = Sampling {
        ratio: sampling::ratio_of_environment().map_err(Error::Telemetry)?,
        slow: SLOW,
    };
    let rule = Rule::new(sampling.ratio, sampling.slow);
    let endpoint = std::env::var(collector::ENDPOINT).unwrap_or_default();
    let exporters =
        collector::open(&endpoint)?.map(|collector| Exporters::new(name, rule.clone(), collector));
    let exporters = exporters.transpose()?;
    // Boxed, and only those that there are: an optional layer below a filter would turn the others off.
    let mut outputs: Vec<Box<dyn Layer<_> + Send + Sync>> = vec![match common.log_format {
        LogFormat::Json => Box::new(fmt::layer().event_format(log::Json { service: name })),
        LogFormat::Text => Box::new(fmt::layer()),
    }];
    if let Some(exporters) = &exporters {
        outputs.push(Box::new(LogLayer::new(&exporters.logs)));
    }
    let (filter, handle) = reload::Layer::new(filter);
    // JSON lines have no use for spans, which would be kept and formatted for them.
    let wants_spans = common.log_format == LogFormat::Text;
    let wanted = FilterFn::new(move |metadata| wants_spans || metadata.is_event());
    // One filter for all that is written, so that a line is counted once. Of spans it looks at the cheapest part only.
    let written = outputs.with_filter(wanted.and(filter).and(REPEATS.clone()));
    // A list, in which there is nothing where nothing is exported: below an absent layer (`None`) each span of each
    // library would be made and forgotten.
    let mut layers = vec![written.boxed()];
    layers.extend(
        exporters
            .iter()
            .map(|exporters| spans(&exporters.traces).boxed()),
    );
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|e| Error::Telemetry(e.to_string()))?;
    tokio::spawn(REPEATS.clone().summarize());
    let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    Control::new(&common.log, sampling, rule, exporters.is_some(), reload).install();
    Ok(Telemetry {
        exporters,
        metrics: None,
    })
}

/// Adds an attribute to `span`. Unlike a field, a text of the program's own isn't copied for it: spans that aren't
/// sampled are held for a while, too. `value` isn't asked for where no traces are exported.
pub fn describe<V>(span: &Span, name: &'static str, value: impl FnOnce() -> V)
where
    V: Into<Cow<'static, str>>,
{
    if !span.is_disabled() {
        span.set_attribute(name, StringValue::from(value().into()));
    }
}

/// Says on `span` that what it stands for failed, and why: it is exported then, sampled or not.
pub fn fail(span: &Span, why: impl Display) {
    if !span.is_disabled() {
        span.set_status(Status::error(why.to_string()));
    }
}

/// Does `work` in `span`, which ends with it and says why it failed.
pub async fn traced<T, E: Display>(
    span: Span,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let done = work.instrument(span.clone()).await;
    done.inspect_err(|error| fail(&span, error))
}

/// Gives spans to the exporter of `provider`.
fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("sextant"))
        // Times and threads of each poll cost more than the rest of a span, and nobody asks for them.
        .with_tracked_inactivity(false)
        .with_threads(false)
        .with_location(false)
        .with_target(false)
        // A future is entered at each poll. Log lines look for their span when they are written: see `current_span`.
        .with_context_activation(false)
        .with_filter(of_traces())
}

/// Trace and span that whatever is said now belongs to.
fn current_span() -> Option<SpanContext> {
    let context = tracing::dispatcher::get_default(|dispatch| {
        let current = dispatch.current_span();
        tracing_opentelemetry::get_otel_context(current.id()?, dispatch)
    })?;
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Spans, whatever the log level is: that of the configuration and changes of it are about log lines.
fn of_traces() -> FilterFn {
    let wanted: fn(&Metadata<'_>) -> bool =
        |metadata| *metadata.level() <= LevelFilter::INFO && !is_of_the_exporter(metadata);
    FilterFn::new(wanted).with_max_level_hint(LevelFilter::INFO)
}

/// What the exporters themselves say must not be exported: it would never end.
fn is_of_the_exporter(metadata: &Metadata<'_>) -> bool {
    let own = [
        "h2",
        "hyper",
        "hyper_util",
        "opentelemetry",
        "tonic",
        "tower",
    ];
    let root = metadata.target().split("::").next().unwrap_or_default();
    own.iter().any(|name| {
        root.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}
