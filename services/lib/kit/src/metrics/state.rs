//! What a process says of itself in numbers: which version it is, and whether it is ready.

use crate::readiness::Readiness;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// `/readyz` as gauges.
#[derive(Debug)]
pub(super) struct State {
    readiness: Readiness,
}

impl State {
    pub(super) fn new(readiness: Readiness) -> Self {
        Self { readiness }
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let waiting = self.readiness.waiting().len();
        let degraded = self.readiness.degraded().len();
        let gauges = [
            (
                "ready",
                "1 while the process waits for nothing",
                usize::from(waiting == 0),
            ),
            (
                "waiting_tasks",
                "What the process waits for; /readyz names it",
                waiting,
            ),
            (
                "degraded_tasks",
                "What the process serves without; /readyz names it",
                degraded,
            ),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;
    use crate::readiness::Readiness;

    #[test]
    fn the_gauges_say_what_readyz_says() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        metrics.describe("a-service", &readiness);
        let told = |wanted: &[&str]| {
            let text = metrics.encode().unwrap();
            for line in wanted {
                assert!(text.contains(line), "{line} isn't in {text}");
            }
        };
        let task = readiness.task("datastore");
        let version = env!("CARGO_PKG_VERSION");
        let build =
            format!("sextant_build_info{{service=\"a-service\",version=\"{version}\"}} 1\n");
        told(&[
            &build,
            "sextant_ready 0\n",
            "sextant_waiting_tasks 1\n",
            "sextant_degraded_tasks 0\n",
        ]);
        task.degraded("away");
        told(&["sextant_ready 1\n", "sextant_degraded_tasks 1\n"]);
    }
}
