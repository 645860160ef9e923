//! Stopping: one signal that everybody hears, and guards that hold the process until work is finished.

use std::future::Future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The listening side: resolves once the process should stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: CancellationToken,
    tasks: TaskTracker,
}

/// Keeps the process alive (up to its drain limit) until dropped.
#[derive(Debug)]
pub struct DrainGuard(#[expect(dead_code, reason = "held for its drop")] TaskTrackerToken);

/// The side that starts the drain.
#[derive(Clone, Debug)]
pub struct DrainTrigger(Drain);

impl Drain {
    /// A drain and its trigger.
    pub fn new() -> (Self, DrainTrigger) {
        let drain = Self {
            signal: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (drain.clone(), DrainTrigger(drain))
    }

    /// Resolves when the process should stop; at once when it already should.
    pub async fn signaled(&self) {
        self.signal.cancelled().await;
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Holds the process until the guard is dropped.
    pub fn guard(&self) -> DrainGuard {
        DrainGuard(self.tasks.token())
    }

    /// Spawns a task that is dropped at its next await once the drain starts.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let signal = self.signal.clone();
        tokio::spawn(async move {
            signal.run_until_cancelled_owned(task).await;
        })
    }

    /// Runs `work` until it ends or the drain starts; `None` when drained first.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.signal.run_until_cancelled(work).await
    }
}

impl DrainTrigger {
    /// Starts the drain. More calls change nothing.
    pub fn start(&self) {
        self.0.signal.cancel();
    }

    /// Resolves when every guard is dropped. Only meaningful after [`Self::start`].
    pub async fn finished(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}
