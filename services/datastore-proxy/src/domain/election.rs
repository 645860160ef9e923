//! Which of several replicas on one database writes.
//!
//! One row names the term: its epoch, who holds it, and a counter that the holder raises as long as it lives. No
//! clock of the database or of another machine is compared with ours: a candidate takes over only after the row has
//! stood still for [`PATIENCE`] of its own time, and the holder trusts its term for [`VALIDITY`] of its own time from
//! before it *sent* its last sign of life. Each commit names its epoch, so a holder that was replaced can't write.

use super::version::Row;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long a holder answers reads from memory after a sign of life.
pub const VALIDITY: Duration = Duration::from_secs(2);
/// How long the row must stand still before somebody takes over; longer than [`VALIDITY`] by what clocks may drift.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How often the holder gives a sign of life.
pub const BEAT: Duration = Duration::from_millis(500);
/// How often the others look.
pub const LOOK: Duration = Duration::from_millis(250);

/// The row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Raised with each change of the holder.
    pub epoch: i64,
    /// Raised with each sign of life.
    pub beat: i64,
    /// The holder's member id, 0 for nobody.
    pub holder: u64,
    /// Where the other replicas reach the holder.
    pub address: String,
    /// The last row that the holder has made visible to its readers.
    pub applied: Row,
}

/// What a replica that doesn't hold the term is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try to take over.
    Campaign,
    /// Follow the holder.
    Follow,
}

/// Watches the row.
#[derive(Debug, Default)]
pub struct Observer {
    seen: Option<(i64, i64, Instant)>,
}

impl Observer {
    /// Judges `term`, which was read completely at `now`.
    pub fn observe(&mut self, term: &Term, now: Instant) -> Verdict {
        if term.holder == 0 {
            return Verdict::Campaign;
        }
        match self.seen {
            Some((epoch, beat, since)) if (epoch, beat) == (term.epoch, term.beat) => {
                if now.duration_since(since) >= PATIENCE {
                    Verdict::Campaign
                } else {
                    Verdict::Follow
                }
            }
            _ => {
                self.seen = Some((term.epoch, term.beat, now));
                Verdict::Follow
            }
        }
    }
}

/// How long the holder may trust its term.
#[derive(Debug)]
pub struct Tenure {
    until: Mutex<Instant>,
}

impl Tenure {
    /// A tenure whose campaign was sent at `sent`.
    pub fn new(sent: Instant) -> Self {
        Self {
            until: Mutex::new(sent + VALIDITY),
        }
    }

    /// Records that a sign of life that was sent at `sent` has arrived.
    pub fn extend(&self, sent: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(sent + VALIDITY);
    }

    /// Whether nobody else can have written before `now`.
    pub fn is_valid(&self, now: Instant) -> bool {
        now < *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(epoch: i64, beat: i64) -> Term {
        Term {
            epoch,
            beat,
            holder: 7,
            ..Term::default()
        }
    }

    #[test]
    fn takes_over_only_what_stands_still() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(observer.observe(&term(1, 1), at(0)), Verdict::Follow);
        assert_eq!(observer.observe(&term(1, 1), at(2999)), Verdict::Follow);
        assert_eq!(observer.observe(&term(1, 2), at(3500)), Verdict::Follow);
        assert_eq!(observer.observe(&term(1, 2), at(6499)), Verdict::Follow);
        assert_eq!(observer.observe(&term(1, 2), at(6500)), Verdict::Campaign);
        assert_eq!(observer.observe(&term(2, 0), at(6600)), Verdict::Follow);
    }

    #[test]
    fn takes_over_at_once_what_nobody_holds() {
        let resigned = Term {
            holder: 0,
            ..term(3, 9)
        };
        let verdict = Observer::default().observe(&resigned, Instant::now());
        assert_eq!(verdict, Verdict::Campaign);
    }

    #[test]
    fn a_tenure_ends_before_anybody_takes_over() {
        let sent = Instant::now();
        let tenure = Tenure::new(sent);
        assert!(tenure.is_valid(sent + VALIDITY - Duration::from_millis(1)));
        assert!(!tenure.is_valid(sent + VALIDITY));
        tenure.extend(sent + BEAT);
        assert!(tenure.is_valid(sent + VALIDITY));
        // One that arrives late takes nothing back.
        tenure.extend(sent);
        assert!(tenure.is_valid(sent + VALIDITY));
        assert!(!tenure.is_valid(sent + BEAT + VALIDITY));
        assert!(VALIDITY + BEAT <= PATIENCE);
    }
}
