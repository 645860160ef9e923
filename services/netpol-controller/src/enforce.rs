//! The one task that owns the engine and the kernel's table: changes in, commits out.

use crate::conntrack;
use crate::domain::diff::diff;
use crate::domain::engine::{Change, Engine};
use crate::domain::explain::{Answer, Question, explain, still_allowed};
use crate::domain::frame::Established;
use crate::domain::model::Key;
use crate::domain::ruleset::Ruleset;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::nft::kernel::Kernel;
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Task};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::Instrument;

/// Changes taken up together; a bound, so that a flood doesn't keep the kernel waiting.
const TOGETHER: usize = 4096;
/// Shortest time between two sweeps of connections.
const SWEEP_PAUSE: Duration = Duration::from_millis(500);

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
            sweep: None,
            swept: None,
            backoff: Backoff::default(),
            metrics,
            task,
        }
    }

    /// Runs until drained. What is in force stays in force.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        resync: Duration,
        drain: Drain,
    ) {
        let mut resync = interval(resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        resync.reset();
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

    /// Makes the kernel hold what the engine says.
    async fn settle(&mut self, started: Instant) {
        // Before everything is known, the table of an earlier run stays as it is.
        if !self.is_complete() || self.retry.is_some() {
            return;
        }
        let wanted = self.engine.ruleset().clone();
        let span = tracing::info_span!("netpol.sync", messages = tracing::field::Empty);
        let result = self.commit(&wanted).instrument(span.clone()).await;
        match result {
            Ok(messages) => {
                span.record("messages", messages);
                if messages > 0 {
                    self.metrics.sync.observe(started.elapsed().as_secs_f64());
                }
                self.applied = Some(wanted);
                self.settled();
            }
            Err(error) => {
                self.metrics.errors.inc();
                self.applied = None;
                self.retry = Some(Instant::now() + self.backoff.next());
                tracing::error!(%error, "the table could not be changed; it will be compared and tried again");
                self.task.waiting(error.to_string());
            }
        }
    }

    /// Commits the difference, or compares with the kernel where its state isn't known. Gives the messages sent.
    async fn commit(&mut self, wanted: &Ruleset) -> Result<usize> {
        let (plan, cost) = match &self.applied {
            Some(applied) => {
                let plan = diff(Some(applied), wanted);
                if plan.is_empty() {
                    return Ok(0);
                }
                self.in_kernel(move |kernel| {
                    let cost = kernel.commit(&plan)?;
                    Ok((plan, cost))
                })
                .await?
            }
            None => {
                let wanted = wanted.clone();
                self.in_kernel(move |kernel| kernel.enforce(&wanted))
                    .await?
            }
        };
        self.metrics.messages.inc_by(cost.messages as u64);
        self.metrics.commits.inc_by(cost.commits as u64);
        if plan.may_revoke() {
            self.plan_sweep();
        }
        Ok(cost.messages)
    }

    fn settled(&mut self) {
        self.backoff.reset();
        self.task.ready();
        self.metrics
            .policies
            .set(self.engine.cluster().policy_count() as i64);
        self.metrics.pods.set(self.engine.local_pods() as i64);
        for ensure in self.waiting.drain(..) {
            // Who asked may be gone.
            let _ = ensure.done.send(self.engine.policies(&ensure.pod).count());
        }
    }

    /// Compares the kernel's table with what it should be, and repairs it.
    async fn verify(&mut self) {
        let Some(applied) = self.applied.clone() else {
            return;
        };
        match self.in_kernel(move |kernel| kernel.enforce(&applied)).await {
            Ok((plan, _)) if plan.is_empty() => {}
            Ok((plan, cost)) => {
                self.metrics.repairs.inc();
                self.metrics.messages.inc_by(cost.messages as u64);
                self.metrics.commits.inc_by(cost.commits as u64);
                tracing::warn!(
                    operations = plan.ops().count(),
                    "somebody changed our table; repaired"
                );
            }
            Err(error) => {
                self.metrics.errors.inc();
                tracing::warn!(%error, "the table could not be compared");
            }
        }
        self.plan_sweep();
    }

    /// Connections are judged anew soon: at once, or a short while after the last time.
    fn plan_sweep(&mut self) {
        if self.established == Established::Cut {
            let earliest = self.swept.map(|swept| swept + SWEEP_PAUSE);
            let now = Instant::now();
            self.sweep
                .get_or_insert(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// Ends connections that are no longer allowed.
    async fn sweep(&mut self) {
        let listed =
            tokio::task::spawn_blocking(|| Ok((conntrack::list()?, conntrack::own_addresses())));
        let result = match listed.await.unwrap_or_else(|error| Err(error.into())) {
            Ok((connections, own)) => {
                let forbidden: Vec<_> = connections
                    .into_iter()
                    .filter(|connection| {
                        let nodes_own = own.contains(&connection.packet.source);
                        !still_allowed(&mut self.engine, &connection.packet, nodes_own)
                    })
                    .collect();
                let removed = tokio::task::spawn_blocking(move || conntrack::remove(&forbidden));
                removed.await.unwrap_or_else(|error| Err(error.into()))
            }
            Err(error) => Err(error),
        };
        self.swept = Some(Instant::now());
        match result {
            Ok(0) => {}
            Ok(cut) => {
                self.metrics.cut.inc_by(cut);
                tracing::info!(cut, "connections ended that no policy allows any more");
            }
            Err(error) => {
                self.metrics.errors.inc();
                tracing::warn!(%error, "connections could not be judged anew; trying again");
                self.sweep = Some(Instant::now() + SWEEP_PAUSE);
            }
        }
    }

    /// Runs something that blocks on the kernel.
    async fn in_kernel<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Kernel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kernel = self.kernel.clone();
        tokio::task::spawn_blocking(move || {
            work(&mut kernel.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await?
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
