//! What a process waits for: named tasks, each ready or with a reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The place of the start itself; tasks come after it.
const START: u64 = 0;

/// The set of things that must be there before the process is ready. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness {
    tasks: Arc<watch::Sender<BTreeMap<u64, Entry>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// `None` when ready.
    reason: Option<String>,
}

/// Something the process waits for and what it says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Name of the task.
    pub name: String,
    /// Why it isn't done.
    pub reason: String,
}

/// One thing to wait for. Dropped while ready it is done; dropped while waiting it stays on the list, since
/// nobody is left who could make it ready.
#[derive(Debug)]
pub struct Task {
    id: u64,
    tasks: Arc<watch::Sender<BTreeMap<u64, Entry>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            tasks: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }
}

impl Readiness {
    /// Waits for [`Self::started`], too: a process that hasn't come to its tasks yet isn't ready.
    pub(crate) fn starting(&self) {
        let entry = Entry {
            name: "start".to_owned(),
            reason: Some("the process hasn't come to what it waits for yet".to_owned()),
        };
        self.tasks.send_modify(|tasks| {
            tasks.insert(START, entry);
        });
    }

    /// All tasks that the start needs are there: what counts from now on is they.
    pub fn started(&self) {
        self.tasks
            .send_if_modified(|tasks| tasks.remove(&START).is_some());
    }

    /// Adds something to wait for.
    pub fn task(&self, name: impl Into<String>) -> Task {
        let entry = Entry {
            name: name.into(),
            reason: Some("starting".to_owned()),
        };
        let mut id = 0;
        self.tasks.send_modify(|tasks| {
            id = tasks
                .last_key_value()
                .map_or(START + 1, |(last, _)| last + 1);
            tasks.insert(id, entry);
        });
        Task {
            id,
            tasks: Arc::clone(&self.tasks),
        }
    }

    /// What is waited for now, in the order it was added; empty when ready.
    pub fn waiting(&self) -> Vec<Waiting> {
        waiting(&self.tasks.borrow())
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Resolves once nothing is waited for.
    pub async fn ready(&self) {
        let mut changes = self.tasks.subscribe();
        // The sender is held by `self`, so the channel can't close here.
        let _ = changes.wait_for(|tasks| waiting(tasks).is_empty()).await;
    }

    /// Resolves at the next change of any task.
    pub async fn changed(&self) {
        let mut changes = self.tasks.subscribe();
        let _ = changes.changed().await;
    }
}

impl Task {
    /// It is there.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It isn't, because of `reason`: what was tried, what was found.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.tasks.send_if_modified(|tasks| {
            let Some(entry) = tasks.get_mut(&self.id) else {
                return false;
            };
            if entry.reason == reason {
                return false;
            }
            match &reason {
                None => tracing::info!(task = entry.name, "ready"),
                Some(reason) => tracing::info!(task = entry.name, reason, "waiting"),
            }
            entry.reason = reason;
            true
        });
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.tasks.send_if_modified(|tasks| {
            let ready = tasks
                .get(&self.id)
                .is_some_and(|entry| entry.reason.is_none());
            if ready {
                tasks.remove(&self.id);
            }
            ready
        });
    }
}

fn waiting(tasks: &BTreeMap<u64, Entry>) -> Vec<Waiting> {
    tasks
        .values()
        .filter_map(|entry| {
            let reason = entry.reason.clone()?;
            Some(Waiting {
                name: entry.name.clone(),
                reason,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_waited_for_in_order() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let first = readiness.task("datastore");
        let second = readiness.task("identity");
        first.waiting("dialling datastore-proxy:2379: connection refused");
        let names: Vec<_> = readiness.waiting().into_iter().map(|w| w.name).collect();
        assert_eq!(names, ["datastore", "identity"]);
        second.ready();
        assert_eq!(
            readiness.waiting(),
            [Waiting {
                name: "datastore".into(),
                reason: "dialling datastore-proxy:2379: connection refused".into()
            }]
        );
    }

    #[test]
    fn a_dropped_task_is_done_only_if_it_was_ready() {
        let readiness = Readiness::default();
        let ready = readiness.task("a");
        ready.ready();
        drop(ready);
        assert!(readiness.is_ready());
        drop(readiness.task("b"));
        assert_eq!(readiness.waiting().len(), 1);
    }

    #[test]
    fn between_two_tasks_a_start_isnt_over() {
        let readiness = Readiness::default();
        readiness.starting();
        assert_eq!(readiness.waiting()[0].name, "start");
        readiness.task("identity").ready();
        assert!(!readiness.is_ready());
        let last = readiness.task("datastore");
        readiness.started();
        assert_eq!(readiness.waiting()[0].name, "datastore");
        last.ready();
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn ready_resolves_when_the_last_task_is() {
        let readiness = Readiness::default();
        let task = readiness.task("a");
        let waiter = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        task.ready();
        waiter.await.unwrap();
    }
}
