//! What a process waits for: named tasks, each ready, degraded or waiting, the last two with a reason.

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
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Degraded(String),
    Waiting(String),
}

impl State {
    fn waiting(&self) -> Option<&str> {
        match self {
            Self::Waiting(reason) => Some(reason),
            Self::Ready | Self::Degraded(_) => None,
        }
    }

    fn degraded(&self) -> Option<&str> {
        match self {
            Self::Degraded(reason) => Some(reason),
            Self::Ready | Self::Waiting(_) => None,
        }
    }
}

/// Something the process waits for and what it says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Name of the task.
    pub name: String,
    /// Why it isn't done.
    pub reason: String,
}

/// One thing to wait for. Dropped while ready it is done; dropped otherwise it stays on the list, since nobody is
/// left who could make it ready.
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
            state: State::Waiting("the process hasn't come to what it waits for yet".to_owned()),
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
            state: State::Waiting("starting".to_owned()),
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

    /// What is waited for now, in the order it was added; empty when ready. The start itself only where nothing else says more.
    pub fn waiting(&self) -> Vec<Waiting> {
        let tasks = self.tasks.borrow();
        let mut waiting = select(&tasks, State::waiting);
        if tasks.contains_key(&START) && waiting.len() > 1 {
            waiting.remove(0);
        }
        waiting
    }

    /// What is missing now although the process serves without it, in the order it was added.
    pub fn degraded(&self) -> Vec<Waiting> {
        select(&self.tasks.borrow(), State::degraded)
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Resolves once nothing is waited for.
    pub async fn ready(&self) {
        let mut changes = self.tasks.subscribe();
        // The sender is held by `self`, so the channel can't close here.
        let _ = changes
            .wait_for(|tasks| select(tasks, State::waiting).is_empty())
            .await;
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
        self.set(State::Ready);
    }

    /// It isn't, because of `reason`, and what doesn't need it is served all the same: `/readyz` tells the reason
    /// and stays 200. For what was there once; a balancer that took every replica out because a neighbour of
    /// theirs is away would turn a part of the service off into all of it.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(State::Degraded(reason.into()));
    }

    /// It isn't, because of `reason`: what was tried, what was found.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(State::Waiting(reason.into()));
    }

    fn set(&self, state: State) {
        self.tasks.send_if_modified(|tasks| {
            let Some(entry) = tasks.get_mut(&self.id) else {
                return false;
            };
            if entry.state == state {
                return false;
            }
            match &state {
                State::Ready => tracing::info!(task = entry.name, "ready"),
                State::Degraded(reason) => tracing::warn!(task = entry.name, reason, "degraded"),
                State::Waiting(reason) => tracing::info!(task = entry.name, reason, "waiting"),
            }
            entry.state = state;
            true
        });
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.tasks.send_if_modified(|tasks| {
            let ready = tasks
                .get(&self.id)
                .is_some_and(|entry| entry.state == State::Ready);
            if ready {
                tasks.remove(&self.id);
            }
            ready
        });
    }
}

fn select(tasks: &BTreeMap<u64, Entry>, reason: impl Fn(&State) -> Option<&str>) -> Vec<Waiting> {
    tasks
        .values()
        .filter_map(|entry| {
            Some(Waiting {
                name: entry.name.clone(),
                reason: reason(&entry.state)?.to_owned(),
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
        let identity = readiness.task("identity");
        let names: Vec<_> = readiness.waiting().into_iter().map(|w| w.name).collect();
        assert_eq!(names, ["identity"]);
        identity.ready();
        drop(identity);
        assert_eq!(readiness.waiting()[0].name, "start");
        let last = readiness.task("datastore");
        readiness.started();
        assert_eq!(readiness.waiting()[0].name, "datastore");
        last.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn what_is_degraded_is_told_and_not_waited_for() {
        let readiness = Readiness::default();
        let task = readiness.task("datastore");
        assert_eq!(
            (readiness.waiting().len(), readiness.degraded().len()),
            (1, 0)
        );
        task.degraded("connection refused");
        assert!(readiness.is_ready());
        assert_eq!(
            readiness.degraded(),
            [Waiting {
                name: "datastore".into(),
                reason: "connection refused".into()
            }]
        );
        task.ready();
        assert!(readiness.is_ready() && readiness.degraded().is_empty());
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
