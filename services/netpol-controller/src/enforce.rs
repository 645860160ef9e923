//! The one task that owns the engine and the kernel's table: changes in, commits out.

mod sweep;
mod table;

use crate::domain::engine::{Change, Engine};
use crate::domain::explain::{Answer, Question, explain};
use crate::domain::frame::Established;
use crate::domain::model::Key;
use crate::domain::ruleset::Ruleset;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::nft::kernel::Kernel;
use crate::nft::monitor::Monitor;
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Task};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Changes taken up together; a bound, so that a flood doesn't keep the kernel waiting.
const TOGETHER: usize = 4096;

/// Kinds of objects that must all be known before anything is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Namespaces.
    Namespaces,
    /// Pods.
    Pods,
    /// Policies.
    Policies,
}

/// What the task is told or asked.
#[derive(Debug)]
pub enum Command {
    /// Something changed.
    Change(Change),
    /// All objects of a kind have been told.
    Known(Kind),
    /// Answer once the kernel holds the policy of this pod.
    Ensure(Ensure),
    /// Why a connection is allowed or not.
    Explain(Question, oneshot::Sender<Answer>),
}

/// A pod that waits for its policy.
#[derive(Debug)]
pub struct Ensure {
    /// The pod.
    pub pod: Key,
    /// Its UID.
    pub uid: String,
    /// Addresses it was given.
    pub addresses: Vec<IpAddr>,
    /// Gets the number of policies that select it.
    pub done: oneshot::Sender<usize>,
}

/// The task.
pub struct Enforcer {
    engine: Engine,
    established: Established,
    kernel: Arc<Mutex<Kernel>>,
    /// What the kernel holds; `None` while that isn't known.
    applied: Option<Ruleset>,
    known: BTreeSet<Kind>,
    /// Pods whose addresses are taken in; they wait for the commit.
    waiting: Vec<Ensure>,
    /// Pods that the API hasn't shown yet.
    unseen: Vec<Ensure>,
    retry: Option<Instant>,
    /// When the table is compared with what it should be, because somebody changed it.
    check: Option<Instant>,
    checked: Option<Instant>,
    sweep: Option<Instant>,
    swept: Option<Instant>,
    backoff: Backoff,
    metrics: Metrics,
    task: Task,
}

impl Enforcer {
    /// A task for the pods of `node`, with a kernel that may hold a table already.
    pub fn new(
        node: &str,
        established: Established,
        kernel: Kernel,
        metrics: Metrics,
        task: Task,
    ) -> Self {
        task.waiting("the cluster isn't known yet");
        Self {
            engine: Engine::new(node, established),
            established,
            kernel: Arc::new(Mutex::new(kernel)),
            applied: None,
            known: BTreeSet::new(),
            waiting: Vec::new(),
            unseen: Vec::new(),
            retry: None,
            check: None,
            checked: None,
            sweep: None,
            swept: None,
            backoff: Backoff::default(),
            metrics,
            task,
        }
    }

    /// Runs until drained. What is in force stays in force. Each `resync` the table is compared with what it should
    /// be, and at once when `monitor` tells of a change.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        monitor: Monitor,
        resync: Duration,
        drain: Drain,
    ) {
        let mut resync = interval(resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        resync.reset();
        let mut monitor = Some(monitor);
        loop {
            tokio::select! {
                () = drain.signaled() => return,
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    let started = Instant::now();
                    self.take(command);
                    for _ in 0..TOGETHER {
                        let Ok(command) = commands.try_recv() else { break };
                        self.take(command);
                    }
                    self.settle(started).await;
                }
                _ = resync.tick() => self.verify().await,
                told = foreign_change(&mut monitor) => match told {
                    Ok(()) => self.plan_check(),
                    Err(error) => {
                        tracing::error!(%error, "foreign changes are found at the next comparison only");
                        monitor = None;
                    }
                },
                () = due(self.check) => {
                    self.check = None;
                    self.verify().await;
                }
                () = due(self.retry) => {
                    self.retry = None;
                    self.settle(Instant::now()).await;
                }
                () = due(self.sweep) => {
                    self.sweep = None;
                    self.sweep().await;
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Change(change) => {
                let is_pod = matches!(change, Change::Pod(..));
                self.engine.apply(change);
                if is_pod {
                    for ensure in std::mem::take(&mut self.unseen) {
                        self.ensure(ensure);
                    }
                }
            }
            Command::Ensure(ensure) => self.ensure(ensure),
            Command::Explain(question, answer) => {
                // Who asked may be gone.
                let _ = answer.send(explain(&mut self.engine, &question));
            }
            Command::Known(kind) => {
                self.known.insert(kind);
            }
        }
    }

    fn ensure(&mut self, ensure: Ensure) {
        if ensure.done.is_closed() {
            return;
        }
        let seen = self
            .engine
            .announce(&ensure.pod, &ensure.uid, ensure.addresses.clone());
        if seen {
            self.waiting.push(ensure);
        } else {
            self.unseen.retain(|other| !other.done.is_closed());
            self.unseen.push(ensure);
        }
    }

    fn is_complete(&self) -> bool {
        self.known == BTreeSet::from([Kind::Namespaces, Kind::Pods, Kind::Policies])
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn foreign_change(monitor: &mut Option<Monitor>) -> Result<()> {
    match monitor {
        Some(monitor) => monitor.changed().await,
        None => std::future::pending().await,
    }
}
