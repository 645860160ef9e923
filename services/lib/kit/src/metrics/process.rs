//! What the process costs, read from `/proc` when the metrics are: memory, processor time, open files.

use crate::process::resident_bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Units of the kernel's processor times, the same on every Linux that runs this.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self`.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

/// One reading. `None` is what `/proc` didn't tell.
#[derive(Debug, PartialEq)]
struct Reading {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    open_files: Option<u64>,
}

impl Process {
    /// Of a process that has just been started.
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: now.unwrap_or_default().as_secs_f64(),
        }
    }
}

impl Reading {
    fn now() -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
        let open_files = std::fs::read_dir("/proc/self/fd").ok();
        Self {
            cpu_seconds: read("stat").and_then(|stat| cpu_seconds(&stat)),
            resident_bytes: resident_bytes(None),
            open_files: open_files.map(|files| files.count() as u64),
        }
    }
}

/// User and system time out of `/proc/self/stat`. The program's name before them may hold blanks and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = Reading::now();
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            reading.resident_bytes.map(|bytes| bytes as f64),
        )?;
        gauge(
            "process_start_time",
            "When the process was started, Unix time",
            Some(&Unit::Seconds),
            Some(self.started),
        )?;
        gauge(
            "process_open_files",
            "Open file descriptors",
            None,
            reading.open_files.map(|files| files as f64),
        )?;
        if let Some(seconds) = reading.cpu_seconds {
            let metric = encoder.encode_descriptor(
                "process_cpu",
                "Processor time spent",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_name_may_hold_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds("7 (a"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let reading = Reading::now();
        assert!(reading.resident_bytes > Some(1 << 20), "{reading:?}");
        assert!(reading.open_files > Some(2), "{reading:?}");
        assert!(reading.cpu_seconds.is_some(), "{reading:?}");
    }
}
