//! A copy of our state in memory that follows the datastore, so that everything keeps being served while the
//! datastore is away.

use super::keys::{self, Key};
use super::{Datastore, SessionRecord, Versioned, attempt};
use crate::domain::membership::NodeRecord;
use crate::domain::queue::Ticket;
use crate::error::Error;
use etcd_client::{EventType, WatchOptions};
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Task};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Our state at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether it was ever read.
    pub known: bool,
    /// Registered nodes.
    pub nodes: BTreeMap<String, Versioned<NodeRecord>>,
    /// Sessions: node, then replica.
    pub sessions: BTreeMap<String, BTreeMap<String, SessionRecord>>,
    /// Queues: name, then tickets by key.
    pub queues: BTreeMap<String, BTreeMap<String, Ticket>>,
}

impl State {
    /// The record of a node.
    pub fn node(&self, name: &str) -> Option<&NodeRecord> {
        self.nodes.get(name).map(|versioned| &versioned.value)
    }

    /// Tickets of a queue.
    pub fn tickets(&self, queue: &str) -> impl Iterator<Item = &Ticket> {
        self.queues
            .get(queue)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    fn put(&mut self, kv: &etcd_client::KeyValue) {
        let Ok(key) = kv.key_str() else { return };
        let outcome = match Key::parse(key) {
            Some(Key::Node(name)) => serde_json::from_slice(kv.value()).map(|value| {
                let versioned = Versioned {
                    value,
                    revision: kv.mod_revision(),
                };
                self.nodes.insert(name.to_owned(), versioned);
            }),
            Some(Key::Session { node, replica }) => serde_json::from_slice(kv.value()).map(|v| {
                self.sessions
                    .entry(node.to_owned())
                    .or_default()
                    .insert(replica.to_owned(), v);
            }),
            Some(Key::Ticket { queue }) => {
                let ticket = Ticket {
                    created: kv.create_revision(),
                    key: key.to_owned(),
                    holder: String::from_utf8_lossy(kv.value()).into_owned(),
                };
                self.queues
                    .entry(queue.to_owned())
                    .or_default()
                    .insert(key.to_owned(), ticket);
                Ok(())
            }
            None => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::error!(key, %error, "a record in the datastore can't be read and is left out");
        }
    }

    fn delete(&mut self, key: &str) {
        match Key::parse(key) {
            Some(Key::Node(name)) => {
                self.nodes.remove(name);
            }
            Some(Key::Session { node, replica }) => {
                if let Some(replicas) = self.sessions.get_mut(node) {
                    replicas.remove(replica);
                    if replicas.is_empty() {
                        self.sessions.remove(node);
                    }
                }
            }
            Some(Key::Ticket { queue }) => {
                if let Some(tickets) = self.queues.get_mut(queue) {
                    tickets.remove(key);
                }
            }
            None => {}
        }
    }
}

/// Follows the datastore until drained; says on `task` when it can't.
pub async fn run(store: Datastore, state: watch::Sender<Arc<State>>, task: Task, drain: Drain) {
    let mut backoff = Backoff::default();
    while !drain.is_draining() {
        let outcome = drain.run(follow(&store, &state, &task, &mut backoff)).await;
        let Some(Err(error)) = outcome else { return };
        let reason = format!("following own state: {error}");
        // Once read, the state is served on: sessions, tunnels and configurations need no more.
        match state.borrow().known {
            true => task.degraded(reason),
            false => task.waiting(reason),
        }
        if drain
            .run(tokio::time::sleep(backoff.next()))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// One list and the watch after it. Only ever ends with an error.
async fn follow(
    store: &Datastore,
    state: &watch::Sender<Arc<State>>,
    task: &Task,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Error> {
    let (revision, kvs) = store.list().await?;
    let mut listed = State {
        known: true,
        ..State::default()
    };
    kvs.iter().for_each(|kv| listed.put(kv));
    publish(state, listed);
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(revision + 1);
    let mut client = store.client.watch_client();
    let mut events = attempt(
        "watching own state",
        client.watch(keys::PREFIX, Some(options)),
    )
    .await?;
    task.ready();
    backoff.reset();
    loop {
        let message = events.message().await.map_err(|source| Error::Datastore {
            what: "watching own state".into(),
            source,
        })?;
        let Some(message) = message.filter(|message| !message.canceled()) else {
            return Err(Error::Datastore {
                what: "watching own state".into(),
                source: etcd_client::Error::WatchError("the watch was ended by the server".into()),
            });
        };
        let mut next = State::clone(&state.borrow());
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            match (event.event_type(), kv.key_str()) {
                (EventType::Put, _) => next.put(kv),
                (EventType::Delete, Ok(key)) => next.delete(key),
                (EventType::Delete, Err(_)) => {}
            }
        }
        publish(state, next);
    }
}

fn publish(state: &watch::Sender<Arc<State>>, next: State) {
    state.send_if_modified(|current| {
        let changed = **current != next;
        if changed {
            *current = Arc::new(next);
        }
        changed
    });
}
