//! How far something long is.

use std::time::{Duration, Instant};

/// How often it is said.
const PERIOD: Duration = Duration::from_secs(2);

/// Says now and then on standard error how far it is.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    said: Instant,
}

impl Progress {
    /// Of `total` somethings.
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: 0,
            said: Instant::now(),
        }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, more: u64) {
        self.done += more;
        if self.said.elapsed() >= PERIOD {
            self.said = Instant::now();
            let percent = self.done.saturating_mul(100) / self.total.max(1);
            eprintln!(
                "{}: {} of {} ({percent} %)",
                self.what, self.done, self.total
            );
        }
    }
}
