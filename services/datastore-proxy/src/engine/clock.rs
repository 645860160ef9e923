//! Time for leases.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 that never jump: the wall clock is read once, at the start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: i64,
    start: Instant,
}

impl Clock {
    /// Reads the wall clock.
    pub fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall: wall.as_millis().try_into().unwrap_or(i64::MAX),
            start: Instant::now(),
        }
    }

    /// A clock that shows `wall` milliseconds since 1970 at this moment.
    pub fn at(wall: i64) -> Self {
        Self {
            wall,
            start: Instant::now(),
        }
    }

    /// Now.
    pub fn now(&self) -> i64 {
        let passed = self.start.elapsed().as_millis();
        self.wall
            .saturating_add(passed.try_into().unwrap_or(i64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
