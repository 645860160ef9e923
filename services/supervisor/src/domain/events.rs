//! The newest events of Kubernetes, as few as are ever shown.

use sextant_proto::supervisor::EventInfo;
use std::collections::BTreeMap;

/// Events that are kept.
pub const MOST_EVENTS: usize = 100;
/// Characters of a message that are kept.
const LONGEST_MESSAGE: usize = 300;

/// The newest events by their uid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecentEvents {
    events: BTreeMap<String, EventInfo>,
}

impl RecentEvents {
    /// Notes an event, or that one was seen again. The oldest one makes room.
    pub fn note(&mut self, uid: String, mut event: EventInfo) {
        event.message = shortened(&event.message);
        self.events.insert(uid, event);
        if self.events.len() > MOST_EVENTS {
            let oldest = self
                .events
                .iter()
                .min_by_key(|(_, event)| event.last_unix)
                .map(|(uid, _)| uid.clone());
            if let Some(oldest) = oldest {
                self.events.remove(&oldest);
            }
        }
    }

    /// Forgets one that is gone.
    pub fn forget(&mut self, uid: &str) {
        self.events.remove(uid);
    }

    /// At most so many, the newest first.
    #[must_use]
    pub fn newest(&self, most: usize) -> Vec<EventInfo> {
        let mut newest: Vec<_> = self.events.iter().collect();
        newest.sort_by_key(|(uid, event)| (std::cmp::Reverse(event.last_unix), *uid));
        newest
            .into_iter()
            .take(most)
            .map(|(_, event)| event.clone())
            .collect()
    }
}

/// One line, cut off where it is too long.
fn shortened(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_MESSAGE) {
        None => line,
        Some(_) => line
            .chars()
            .take(LONGEST_MESSAGE - 1)
            .chain(['…'])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(last_unix: i64, message: &str) -> EventInfo {
        EventInfo {
            last_unix,
            message: message.into(),
            ..EventInfo::default()
        }
    }

    #[test]
    fn one_that_is_seen_again_moves_to_the_front() {
        let mut recent = RecentEvents::default();
        recent.note("a".into(), event(1, "first"));
        recent.note("b".into(), event(2, "second\n of  two"));
        recent.note("a".into(), event(3, "first"));
        let messages = |most| -> Vec<_> {
            let newest = recent.newest(most).into_iter();
            newest.map(|event| event.message).collect()
        };
        assert_eq!(messages(9), ["first", "second of two"]);
        assert_eq!(messages(1), ["first"]);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut recent = RecentEvents::default();
        recent.note("a".into(), event(1, &"é".repeat(1000)));
        let kept = recent.newest(1).remove(0).message;
        assert_eq!(kept.chars().count(), LONGEST_MESSAGE);
        assert!(kept.ends_with("é…"));
    }

    proptest! {
        #[test]
        fn keeps_the_newest(times in prop::collection::vec(0..1000_i64, 0..300)) {
            let mut recent = RecentEvents::default();
            for (uid, time) in times.iter().enumerate() {
                recent.note(uid.to_string(), event(*time, ""));
            }
            let mut wanted = times.clone();
            wanted.sort_by_key(|time| std::cmp::Reverse(*time));
            wanted.truncate(MOST_EVENTS);
            let kept = recent.newest(usize::MAX);
            prop_assert_eq!(kept.iter().map(|event| event.last_unix).collect::<Vec<_>>(), wanted);
        }
    }
}
