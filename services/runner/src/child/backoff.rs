//! Pauses between restarts.

use std::time::Duration;

/// Doubles from `base` to `max`; each pause is drawn from the upper half, so that many processes that crash
/// together don't come back together.
#[derive(Debug)]
pub(super) struct Pauses {
    base: Duration,
    max: Duration,
    crashes: u32,
}

impl Pauses {
    pub(super) fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            crashes: 0,
        }
    }

    /// `fraction` in 0..1 places the pause between half and the whole of the current step.
    pub(super) fn next(&mut self, fraction: f64) -> Duration {
        let step = self
            .base
            .saturating_mul(1 << self.crashes.min(20))
            .min(self.max);
        self.crashes = self.crashes.saturating_add(1);
        step.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.crashes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_maximum_and_starts_again() {
        let mut pauses = Pauses::new(Duration::from_millis(500), Duration::from_secs(30));
        let whole: Vec<_> = (0..8).map(|_| pauses.next(1.0).as_millis()).collect();
        assert_eq!(whole, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        pauses.reset();
        assert_eq!(pauses.next(0.0), Duration::from_millis(250));
    }

    #[test]
    fn never_overflows() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..1000 {
            assert!(pauses.next(0.5) <= Duration::from_secs(60));
        }
    }
}
