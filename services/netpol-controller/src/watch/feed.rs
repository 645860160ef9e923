//! Watches of one kind of object each, as changes for the engine.

use crate::domain::engine::Change;
use crate::domain::model::Key;
use crate::domain::parse;
use crate::enforce::{Command, Kind};
use crate::metrics::Metrics;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use sextant_kit::{Context, Task};
use std::collections::BTreeSet;
use std::pin::pin;
use tokio::sync::mpsc;

/// Follows everything that policy needs, until drained.
pub fn start(client: &Client, ctx: &Context, metrics: &Metrics, commands: &mpsc::Sender<Command>) {
    macro_rules! follow {
        ($object:ty, $feed:ty, $name:literal) => {{
            let events = watcher(
                Api::<$object>::all(client.clone()),
                watcher::Config::default(),
            );
            let task = ctx.readiness.task($name);
            let feed = Feed::<$feed>::new(commands.clone(), metrics.clone(), task);
            ctx.drain.spawn(feed.run(events.default_backoff()));
        }};
    }
    follow!(Namespace, Namespaces, "namespaces");
    follow!(Pod, Pods, "pods");
    follow!(NetworkPolicy, Policies, "policies");
}

/// How a kind of object becomes changes.
pub trait Source {
    /// The API object.
    type Object;
    /// What names it.
    type Id: Ord + Clone;
    /// Which kind it is.
    const KIND: Kind;
    /// Its name and the change it is; `None` for what can't be named.
    fn present(object: &Self::Object) -> Option<(Self::Id, Change)>;
    /// The change that it is gone.
    fn gone(id: Self::Id) -> Change;
}

/// Pods.
pub struct Pods;
/// Namespaces.
pub struct Namespaces;
/// Policies.
pub struct Policies;

impl Source for Pods {
    type Object = Pod;
    type Id = Key;
    const KIND: Kind = Kind::Pods;

    fn present(object: &Pod) -> Option<(Key, Change)> {
        let pod = parse::pod(object)?;
        Some((
            pod.key.clone(),
            Change::Pod(pod.key.clone(), Some(Box::new(pod))),
        ))
    }

    fn gone(id: Key) -> Change {
        Change::Pod(id, None)
    }
}

impl Source for Namespaces {
    type Object = Namespace;
    type Id = std::sync::Arc<str>;
    const KIND: Kind = Kind::Namespaces;

    fn present(object: &Namespace) -> Option<(Self::Id, Change)> {
        let namespace = parse::namespace(object)?;
        let name = namespace.name.clone();
        Some((name.clone(), Change::Namespace(name, Some(namespace))))
    }

    fn gone(id: Self::Id) -> Change {
        Change::Namespace(id, None)
    }
}

impl Source for Policies {
    type Object = NetworkPolicy;
    type Id = Key;
    const KIND: Kind = Kind::Policies;

    fn present(object: &NetworkPolicy) -> Option<(Key, Change)> {
        let policy = parse::policy(object)?;
        Some((
            policy.key.clone(),
            Change::Policy(policy.key.clone(), Some(Box::new(policy))),
        ))
    }

    fn gone(id: Key) -> Change {
        Change::Policy(id, None)
    }
}

/// Turns the events of one watch into commands. A new list after an interruption takes away what it lacks.
pub struct Feed<S: Source> {
    commands: mpsc::Sender<Command>,
    metrics: Metrics,
    task: Task,
    known: BTreeSet<S::Id>,
    /// What the list being read has not shown yet.
    unlisted: BTreeSet<S::Id>,
    complete: bool,
}

impl<S: Source> Feed<S> {
    /// A feed that sends to `commands`.
    pub fn new(commands: mpsc::Sender<Command>, metrics: Metrics, task: Task) -> Self {
        task.waiting("listing");
        Self {
            commands,
            metrics,
            task,
            known: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            complete: false,
        }
    }

    /// Takes events until they end or nobody listens.
    pub async fn run(
        mut self,
        events: impl Stream<Item = watcher::Result<watcher::Event<S::Object>>>,
    ) {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            let sent = match event {
                Ok(event) => self.take(event).await,
                Err(error) => {
                    self.metrics.watch_errors.inc();
                    tracing::warn!(%error, kind = ?S::KIND, "watch interrupted; what is in force stays in force");
                    if !self.complete {
                        self.task.waiting(error.to_string());
                    }
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn take(
        &mut self,
        event: watcher::Event<S::Object>,
    ) -> Result<(), mpsc::error::SendError<Command>> {
        match event {
            watcher::Event::Init => self.unlisted = self.known.clone(),
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                if let Some((id, change)) = S::present(&object) {
                    self.unlisted.remove(&id);
                    self.known.insert(id);
                    self.commands.send(Command::Change(change)).await?;
                }
            }
            watcher::Event::Delete(object) => {
                if let Some((id, _)) = S::present(&object) {
                    self.unlisted.remove(&id);
                    self.known.remove(&id);
                    self.commands.send(Command::Change(S::gone(id))).await?;
                }
            }
            watcher::Event::InitDone => {
                for id in std::mem::take(&mut self.unlisted) {
                    self.known.remove(&id);
                    self.commands.send(Command::Change(S::gone(id))).await?;
                }
                self.complete = true;
                self.commands.send(Command::Known(S::KIND)).await?;
                self.task.ready();
            }
        }
        Ok(())
    }
}
