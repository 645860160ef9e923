//! Counts.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Failures whose words are kept.
const TOLD: usize = 20;

/// What is counted while the load goes on.
#[derive(Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    took: BTreeMap<&'static str, Vec<Duration>>,
    moved: usize,
    asked_to_wait: usize,
    resumed: usize,
    failed: usize,
    failures: Vec<String>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered as it should be.
    pub fn answer(&self, verb: &'static str, took: Duration) {
        self.counts().took.entry(verb).or_default().push(took);
    }

    pub fn moved(&self) {
        self.counts().moved += 1;
    }

    pub fn asked_to_wait(&self) {
        self.counts().asked_to_wait += 1;
    }

    pub fn resumed(&self) {
        self.counts().resumed += 1;
    }

    pub fn fail(&self, failure: String) {
        let mut counts = self.counts();
        counts.failed += 1;
        if counts.failures.len() < TOLD {
            counts.failures.push(failure);
        }
    }

    pub fn answered(&self) -> usize {
        self.counts().took.values().map(Vec::len).sum()
    }

    pub fn failed(&self) -> usize {
        self.counts().failed
    }

    pub fn report(&self, took: Duration) -> Report {
        let counts = std::mem::take(&mut *self.counts());
        Report {
            took,
            verbs: counts.took,
            moved: counts.moved,
            asked_to_wait: counts.asked_to_wait,
            resumed: counts.resumed,
            failed: counts.failed,
            failures: counts.failures,
        }
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct Report {
    /// How long it lasted.
    pub took: Duration,
    /// How long answers took, by verb.
    pub verbs: BTreeMap<&'static str, Vec<Duration>>,
    /// Requests that went again over a new connection, since the old one ended before the server had begun them.
    pub moved: usize,
    /// Answers with Retry-After.
    pub asked_to_wait: usize,
    /// Watches that ended and were resumed.
    pub resumed: usize,
    /// Requests that failed, and gaps in what watches told.
    pub failed: usize,
    /// The first of them, in words.
    pub failures: Vec<String>,
}

impl Report {
    /// Answered requests.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.verbs.values().map(Vec::len).sum()
    }

    /// Answered requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.took.as_secs_f64()
    }

    /// The time that this share of the answers didn't exceed, in milliseconds (nearest rank); 0 without answers.
    #[must_use]
    pub fn percentile(&self, share: f64) -> f64 {
        let mut all: Vec<Duration> = self.verbs.values().flatten().copied().collect();
        all.sort();
        let rank = (share * all.len() as f64).ceil() as usize;
        all.get(rank.max(1) - 1)
            .map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    }

    /// The figures.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "seconds": self.took.as_secs_f64(),
            "requests": self.answered(),
            "requests_per_second": self.rate(),
            "p50_milliseconds": self.percentile(0.5),
            "p99_milliseconds": self.percentile(0.99),
            "max_milliseconds": self.percentile(1.0),
            "failed": self.failed,
            "moved": self.moved,
            "asked_to_wait": self.asked_to_wait,
            "watches_resumed": self.resumed,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.1} s ({:.0}/s, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms), {} failed, {} moved to \
             another connection, {} asked to wait, {} watches resumed",
            self.answered(),
            self.took.as_secs_f64(),
            self.rate(),
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(1.0),
            self.failed,
            self.moved,
            self.asked_to_wait,
            self.resumed,
        )?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_over_all_verbs() {
        let tally = Tally::default();
        for millis in 1..=50 {
            tally.answer("get", Duration::from_millis(millis));
            tally.answer("list", Duration::from_millis(50 + millis));
        }
        let report = tally.report(Duration::from_secs(10));
        assert_eq!(report.percentile(0.5), 50.0);
        assert_eq!(report.percentile(0.99), 99.0);
        assert_eq!((report.answered(), report.rate()), (100, 10.0));
    }
}
