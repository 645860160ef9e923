//! From the families of a registry to OTLP's messages. Names are those of the exposition, so that there is one list of
//! them.
//!
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility".

use opentelemetry::TraceId;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Text;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as prometheus;
use prometheus_client::registry::Unit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything is told since the process began.
const SINCE_START: i32 = AggregationTemporality::Cumulative as i32;

/// Whose metrics they are.
#[derive(Clone, Debug)]
pub(super) struct Process {
    resource: Resource,
    started: SystemTime,
}

impl Process {
    pub(super) fn new(resource: &opentelemetry_sdk::Resource, started: SystemTime) -> Self {
        Self {
            resource: resource.into(),
            started,
        }
    }

    /// What `families` said at `now`.
    pub(super) fn tell(
        &self,
        families: Vec<prometheus::MetricFamily>,
        now: SystemTime,
    ) -> ResourceMetrics {
        let times = Times {
            start: nanos(self.started),
            now: nanos(now),
        };
        let scope = ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "sextant".to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics: families
                .into_iter()
                .map(|family| times.metric(family))
                .collect(),
            ..ScopeMetrics::default()
        };
        ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }
    }
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn metric(self, family: prometheus::MetricFamily) -> Metric {
        let kind = family.r#type();
        let series = family.metric.into_iter();
        let data = match kind {
            prometheus::MetricType::Counter => Data::Sum(Sum {
                data_points: series.map(|one| self.number(one)).collect(),
                aggregation_temporality: SINCE_START,
                is_monotonic: true,
            }),
            prometheus::MetricType::Histogram => Data::Histogram(Histogram {
                data_points: series.map(|one| self.histogram(one)).collect(),
                aggregation_temporality: SINCE_START,
            }),
            // A registry holds none of the others.
            _ => Data::Gauge(Gauge {
                data_points: series.map(|one| self.number(one)).collect(),
            }),
        };
        Metric {
            name: family.name,
            description: family.help,
            unit: ucum(&family.unit),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number(self, series: prometheus::Metric) -> NumberDataPoint {
        let counter = series.counter.map(|counter| counter.value);
        let gauge = series.gauge.map(|gauge| gauge.value);
        let untyped = series.untyped.map(|untyped| untyped.value);
        NumberDataPoint {
            attributes: attributes(series.label),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: counter.or(gauge).or(untyped).map(Number::AsDouble),
            ..NumberDataPoint::default()
        }
    }

    fn histogram(self, series: prometheus::Metric) -> HistogramDataPoint {
        let histogram = series.histogram.unwrap_or_default();
        let (mut explicit_bounds, mut bucket_counts) = (Vec::new(), Vec::new());
        let (mut exemplars, mut below) = (Vec::new(), 0);
        for bucket in histogram.bucket {
            explicit_bounds.push(bucket.upper_bound);
            // Of this bucket alone, without those before it.
            bucket_counts.push(bucket.cumulative_count.saturating_sub(below));
            below = bucket.cumulative_count;
            exemplars.extend(bucket.exemplar.map(exemplar));
        }
        // The last bucket is that of all the rest.
        explicit_bounds.pop();
        HistogramDataPoint {
            attributes: attributes(series.label),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            count: histogram.sample_count,
            sum: Some(histogram.sample_sum),
            bucket_counts,
            explicit_bounds,
            exemplars,
            ..HistogramDataPoint::default()
        }
    }
}

fn attributes(labels: Vec<prometheus::LabelPair>) -> Vec<KeyValue> {
    let attribute = |label: prometheus::LabelPair| KeyValue {
        key: label.name,
        value: Some(AnyValue {
            value: Some(Text::StringValue(label.value)),
        }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

fn exemplar(exemplar: prometheus::Exemplar) -> Exemplar {
    let mut labels = exemplar.label.iter();
    let trace = labels.find(|label| label.name == "trace_id");
    let trace = trace.and_then(|label| TraceId::from_hex(&label.value).ok());
    let at = exemplar
        .timestamp
        .and_then(|at| SystemTime::try_from(at).ok());
    Exemplar {
        time_unix_nano: at.map(nanos).unwrap_or_default(),
        trace_id: trace
            .map(|trace| trace.to_bytes().to_vec())
            .unwrap_or_default(),
        value: Some(ExemplarValue::AsDouble(exemplar.value)),
        ..Exemplar::default()
    }
}

/// Units as OTLP writes them. Source: The Unified Code for Units of Measure.
fn ucum(unit: &str) -> String {
    let known = [(Unit::Seconds, "s"), (Unit::Bytes, "By")];
    let found = known.iter().find(|(known, _)| known.as_str() == unit);
    found.map_or(unit, |(_, short)| short).to_owned()
}

fn nanos(at: SystemTime) -> u64 {
    let since: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::prometheus_protobuf;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::exemplar::HistogramWithExemplars;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge as GaugeOfPrometheus;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Registry;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    /// What a registry says that `fill` has filled.
    fn told(fill: impl FnOnce(&mut Registry)) -> Metric {
        let mut registry = Registry::with_prefix("sextant");
        fill(&mut registry);
        let resource = opentelemetry_sdk::Resource::builder_empty().build();
        let process = Process::new(&resource, UNIX_EPOCH + Duration::from_secs(1));
        let families = prometheus_protobuf::encode(&registry).unwrap();
        let mut told = process.tell(families, UNIX_EPOCH + Duration::from_secs(2));
        let mut metrics = told.scope_metrics.remove(0).metrics;
        assert_eq!(metrics.len(), 1);
        metrics.remove(0)
    }

    fn label(name: &str, value: &str) -> Vec<KeyValue> {
        let (name, value) = (name.to_owned(), value.to_owned());
        attributes(vec![prometheus::LabelPair { name, value }])
    }

    #[test]
    fn counters_only_grow_and_begin_with_the_process() {
        let metric = told(|registry| {
            let family = Family::<Vec<(&str, &str)>, Counter>::default();
            family.get_or_create(&vec![("profile", "node")]).inc_by(3);
            registry.register("ca_issued", "Certificates", family);
        });
        assert_eq!(metric.name, "sextant_ca_issued_total");
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("{metric:?}")
        };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, SINCE_START);
        let [point] = &sum.data_points[..] else {
            panic!("{sum:?}")
        };
        assert_eq!(point.attributes, label("profile", "node"));
        assert_eq!(point.value, Some(Number::AsDouble(3.0)));
        assert_eq!(point.start_time_unix_nano, 1_000_000_000);
        assert_eq!(point.time_unix_nano, 2_000_000_000);
    }

    #[test]
    fn gauges_say_their_unit() {
        let metric = told(|registry| {
            let gauge = GaugeOfPrometheus::<i64>::default();
            gauge.set(-7);
            registry.register_with_unit("size", "Size", Unit::Bytes, gauge);
        });
        assert_eq!((&*metric.name, &*metric.unit), ("sextant_size_bytes", "By"));
        let Some(Data::Gauge(gauge)) = &metric.data else {
            panic!("{metric:?}")
        };
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(-7.0)));
    }

    #[test]
    fn what_runs_is_a_one_with_labels() {
        let metric = told(|registry| {
            registry.register("build", "What runs", Info::new([("version", "1")]));
        });
        assert_eq!(metric.name, "sextant_build_info");
        let Some(Data::Gauge(gauge)) = &metric.data else {
            panic!("{metric:?}")
        };
        assert_eq!(gauge.data_points[0].attributes, label("version", "1"));
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(1.0)));
    }

    #[test]
    fn histograms_keep_their_buckets_and_the_traces_in_them() {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let metric = told(|registry| {
            let histogram = HistogramWithExemplars::new([0.5, 1.0].into_iter());
            histogram.observe(0.25, None, None);
            histogram.observe(0.75, Some(vec![("trace_id", TRACE)]), Some(at));
            histogram.observe(3.0, None, None);
            registry.register_with_unit("took", "Time", Unit::Seconds, histogram);
        });
        assert_eq!(
            (&*metric.name, &*metric.unit),
            ("sextant_took_seconds", "s")
        );
        let Some(Data::Histogram(histogram)) = &metric.data else {
            panic!("{metric:?}")
        };
        let [point] = &histogram.data_points[..] else {
            panic!("{histogram:?}")
        };
        assert_eq!(point.explicit_bounds, [0.5, 1.0]);
        assert_eq!(point.bucket_counts, [1, 1, 1]);
        assert_eq!((point.count, point.sum), (3, Some(4.0)));
        let [exemplar] = &point.exemplars[..] else {
            panic!("{point:?}")
        };
        assert_eq!(
            exemplar.trace_id,
            TraceId::from_hex(TRACE).unwrap().to_bytes()
        );
        assert_eq!(exemplar.time_unix_nano, 1_500_000_000);
        assert_eq!(exemplar.value, Some(ExemplarValue::AsDouble(0.75)));
    }
}
