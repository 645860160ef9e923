//! Tells of requests that took long: what, of whom, on which keys.

use crate::domain::authz::Caller;
use crate::domain::range::KeyRange;
use prometheus_client::metrics::counter::Counter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are written in one [`WINDOW`] at most: when everything is slow, all lines say the same.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// Characters of the keys in a line.
const SHOWN: usize = 256;

/// The log of slow requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SlowLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Zero: nothing is slow.
    threshold: Duration,
    budget: Mutex<Budget>,
    count: Counter,
}

/// How much may still be written. Pure: time comes in as a parameter.
#[derive(Debug, Default)]
struct Budget {
    window: Option<Instant>,
    written: u32,
    withheld: u64,
}

impl Budget {
    /// Whether a line may be written, and how many were not since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self
            .window
            .is_none_or(|began| now.duration_since(began) >= WINDOW)
        {
            self.window = Some(now);
            self.written = 0;
        }
        if self.written == LINES {
            self.withheld += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

impl SlowLog {
    /// For requests that take longer than `threshold`; zero turns it off.
    pub fn new(threshold: Duration, metrics: &sextant_kit::Metrics) -> Self {
        let count = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "datastore_slow_requests",
                "Requests for keys that took longer than slow_request_ms",
                count.clone(),
            );
        });
        Self(Arc::new(Shared {
            threshold,
            budget: Mutex::default(),
            count,
        }))
    }

    /// Times a request until what this returns is dropped.
    pub(crate) fn time(
        &self,
        method: &'static str,
        caller: &Caller,
        keys: Option<KeyRange>,
    ) -> Option<Timed> {
        (!self.0.threshold.is_zero()).then(|| Timed {
            log: self.clone(),
            began: Instant::now(),
            method,
            caller: caller.name().to_owned(),
            keys,
        })
    }
}

/// The beginning of it: keys may be a megabyte long.
fn shown(keys: &KeyRange) -> String {
    format!("{keys:?}").chars().take(SHOWN).collect()
}

/// A request on its way.
pub(crate) struct Timed {
    log: SlowLog,
    began: Instant,
    method: &'static str,
    caller: String,
    /// The first keys that it names.
    keys: Option<KeyRange>,
}

impl Drop for Timed {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let shared = &self.log.0;
        if took < shared.threshold {
            return;
        }
        shared.count.inc();
        let budget = shared.budget.lock();
        let mut budget = budget.unwrap_or_else(PoisonError::into_inner);
        let Some(withheld) = budget.take(Instant::now()) else {
            return;
        };
        drop(budget);
        let keys = self.keys.as_ref().map(shown).unwrap_or_default();
        tracing::warn!(
            method = self.method,
            caller = self.caller,
            keys,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            withheld,
            "slow request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_and_a_number() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let lines = (0..100).filter_map(|_| budget.take(start)).count();
        assert_eq!(lines, 10);
        assert_eq!(budget.take(start + WINDOW), Some(90));
        assert_eq!(budget.take(start + WINDOW), Some(0));
    }
}
