//! The looks of the last seconds, of which a newer one is compared with an older one.

use super::Measures;
use sextant_proto::supervisor::PartStatus;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far apart the two looks are that are compared, where there are enough: less jumps about, more is late.
const WINDOW: Duration = Duration::from_secs(15);
/// An older look says nothing of now.
const OLDEST: Duration = Duration::from_secs(600);
/// At most one a second in the window, and the one before it.
const MOST: usize = 20;

/// What all replicas said at one time.
#[derive(Clone, Debug)]
pub struct Look {
    /// When they were asked.
    pub at: Instant,
    /// The same for people, Unix time in milliseconds.
    pub unix_ms: i64,
    /// Each with its measures, or with why there are none.
    pub replicas: Vec<(PartStatus, Result<Measures, String>)>,
    /// How many replicas had no room.
    pub left_out: usize,
}

/// Looks, the newest last.
#[derive(Clone, Debug, Default)]
pub struct History {
    looks: VecDeque<Look>,
}

impl History {
    /// Adds the newest look and forgets those that no later one will be compared with.
    pub fn push(&mut self, look: Look) {
        let now = look.at;
        self.looks.push_back(look);
        let age = |look: &Look| now.saturating_duration_since(look.at);
        // The last one before the window stays: where looks are rare, it is the only one to compare with.
        while self.looks.len() > MOST
            || self.looks.get(1).is_some_and(|next| age(next) >= WINDOW)
            || (self.looks.len() > 1 && self.looks.front().is_some_and(|first| age(first) > OLDEST))
        {
            self.looks.pop_front();
        }
    }

    /// The newest look.
    #[must_use]
    pub fn newest(&self) -> Option<&Look> {
        self.looks.back()
    }

    /// The oldest look at a replica that the newest one is to be compared with.
    #[must_use]
    pub fn before(&self, replica: &PartStatus) -> Option<(Instant, &Measures)> {
        let earlier = self.looks.len().checked_sub(1)?;
        self.looks.iter().take(earlier).find_map(|look| {
            look.replicas
                .iter()
                .find(|(status, _)| {
                    status.name == replica.name && status.address == replica.address
                })
                .and_then(|(_, measures)| Some((look.at, measures.as_ref().ok()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(address: &str) -> PartStatus {
        PartStatus {
            name: "supervisor".into(),
            address: address.into(),
            ..PartStatus::default()
        }
    }

    fn look(at: Instant, address: &str) -> Look {
        Look {
            at,
            unix_ms: 0,
            replicas: vec![(replica(address), Ok(Measures::default()))],
            left_out: 0,
        }
    }

    /// How old the look is that the last of looks at these seconds is compared with.
    fn compared(seconds: impl IntoIterator<Item = u64>) -> Option<u64> {
        let start = Instant::now();
        let mut history = History::default();
        for second in seconds {
            history.push(look(start + Duration::from_secs(second), "a"));
            assert!(history.looks.len() <= MOST);
        }
        let newest = history.newest()?.at;
        let (at, _) = history.before(&replica("a"))?;
        Some((newest - at).as_secs())
    }

    #[test]
    fn compares_over_the_window_or_with_the_last_one_before_it() {
        assert_eq!(compared([]), None);
        assert_eq!(compared([0]), None);
        assert_eq!(compared([0, 2]), Some(2));
        assert_eq!(compared((0..100).step_by(2)), Some(16));
        assert_eq!(compared([0, 60]), Some(60));
        assert_eq!(compared([0, 601]), None);
        assert_eq!(compared(0..1000), Some(15));
    }

    #[test]
    fn a_replica_is_compared_with_itself() {
        let start = Instant::now();
        let mut history = History::default();
        history.push(look(start, "a"));
        history.push(look(start + Duration::from_secs(1), "b"));
        assert!(history.before(&replica("b")).is_none());
        assert!(history.before(&replica("a")).is_some());
    }
}
