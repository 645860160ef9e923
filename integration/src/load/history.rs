//! What was written, and what each watch told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What happened to an object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One event, as a watch told it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Event {
    pub revision: u64,
    pub kind: Kind,
    pub name: String,
}

/// Acknowledged writes and told events.
pub(super) struct History {
    written: Mutex<Written>,
    told: Mutex<BTreeMap<u32, Vec<Event>>>,
    /// Sends with every event, for those who wait for the end.
    grown: watch::Sender<()>,
}

#[derive(Default)]
struct Written {
    /// Creates and updates by the revision that was answered.
    by_revision: BTreeMap<u64, (Kind, String)>,
    /// The API tells no revision of a deletion.
    deleted: BTreeSet<String>,
    /// Objects of which a write failed: it may have been done or not.
    unsure: BTreeSet<String>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            written: Mutex::default(),
            told: Mutex::default(),
            grown: watch::Sender::new(()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    pub fn wrote(&self, kind: Kind, name: &str, revision: u64) {
        let written = (kind, name.to_owned());
        locked(&self.written).by_revision.insert(revision, written);
    }

    pub fn deleted(&self, name: &str) {
        locked(&self.written).deleted.insert(name.to_owned());
    }

    /// A write of it failed: nothing is known of it any more.
    pub fn unsure(&self, name: &str) {
        let mut written = locked(&self.written);
        written.by_revision.retain(|_, (_, other)| other != name);
        written.unsure.insert(name.to_owned());
    }

    pub fn told(&self, watcher: u32, event: Event) {
        locked(&self.told).entry(watcher).or_default().push(event);
        self.grown.send_replace(());
    }

    /// From now on this watch is to tell everything.
    pub fn expect(&self, watcher: u32) {
        locked(&self.told).entry(watcher).or_default();
    }

    /// Resolves once every watch has told everything. Call when nothing is written any more.
    pub async fn all_told(&self) {
        let mut grown = self.grown.subscribe();
        while !self.gaps().is_empty() {
            if grown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where what a watch told differs from what was written, in words.
    pub fn gaps(&self) -> Vec<String> {
        let (written, told) = (locked(&self.written), locked(&self.told));
        told.iter()
            .filter_map(|(watcher, events)| {
                let gap = gap(&written, events)?;
                Some(format!("watch {watcher}: {gap}"))
            })
            .collect()
    }
}

fn gap(written: &Written, events: &[Event]) -> Option<String> {
    for pair in events.windows(2) {
        if pair[0].revision >= pair[1].revision {
            return Some(format!("{:?} was told after {:?}", pair[1], pair[0]));
        }
    }
    let sure = events
        .iter()
        .filter(|event| !written.unsure.contains(&event.name));
    let (deletions, others): (Vec<_>, Vec<_>) = sure.partition(|event| event.kind == Kind::Deleted);
    let others: BTreeMap<_, _> = others
        .into_iter()
        .map(|event| (event.revision, (event.kind, event.name.clone())))
        .collect();
    if let Some(missing) = written
        .by_revision
        .iter()
        .find(|(revision, write)| others.get(revision) != Some(write))
    {
        return Some(format!("{missing:?} wasn't told"));
    }
    if let Some(extra) = others
        .iter()
        .find(|(revision, _)| !written.by_revision.contains_key(revision))
    {
        return Some(format!("{extra:?} was told and never acknowledged"));
    }
    let names: BTreeSet<_> = deletions.iter().map(|event| event.name.clone()).collect();
    if names != written.deleted || names.len() != deletions.len() {
        let differ: Vec<_> = names.symmetric_difference(&written.deleted).collect();
        return Some(format!(
            "{} deletions told, {} acknowledged; they differ in {differ:?}",
            deletions.len(),
            written.deleted.len()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, kind: Kind) -> Event {
        Event {
            revision,
            kind,
            name: "x".to_owned(),
        }
    }

    fn judged(events: &[Event]) -> Option<String> {
        let history = History::default();
        history.wrote(Kind::Added, "x", 3);
        history.wrote(Kind::Modified, "x", 5);
        history.deleted("x");
        for event in events {
            history.told(0, event.clone());
        }
        history.gaps().pop()
    }

    #[test]
    fn a_whole_history_has_no_gap() {
        let all = [
            event(3, Kind::Added),
            event(5, Kind::Modified),
            event(6, Kind::Deleted),
        ];
        assert_eq!(judged(&all), None);
        for at in 0..all.len() {
            let mut missing = all.to_vec();
            missing.remove(at);
            assert!(judged(&missing).is_some(), "without {:?}", all[at]);
            let mut twice = all.to_vec();
            twice.insert(at, all[at].clone());
            assert!(judged(&twice).is_some(), "{:?} twice", all[at]);
        }
        let mut turned = all.to_vec();
        turned.swap(0, 1);
        assert!(judged(&turned).is_some());
        let mut more = all.to_vec();
        more.insert(1, event(4, Kind::Modified));
        assert!(judged(&more).is_some());
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let history = History::default();
        history.wrote(Kind::Added, "x", 3);
        history.unsure("x");
        history.wrote(Kind::Added, "y", 4);
        let told = Event {
            revision: 4,
            kind: Kind::Added,
            name: "y".to_owned(),
        };
        history.told(0, told);
        history.told(1, event(3, Kind::Added));
        let gaps = history.gaps();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0].starts_with("watch 1"), "{gaps:?}");
    }
}
