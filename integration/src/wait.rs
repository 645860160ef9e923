//! Waits for conditions, never for time.

use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// Repeats `check` until it succeeds.
///
/// # Errors
/// At the deadline, what was waited for and the last failure.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > deadline => {
                return Err(anyhow!(
                    "{what}: not within {deadline:?}; last seen: {error:#}"
                ));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
