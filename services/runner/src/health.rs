//! Readiness and liveness of the component.

use std::{sync::Arc, time::Duration};

use sextant_kit::{Drain, Metrics, Task};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    child::{Child, Status},
    domain::component::Component,
    metrics::RunnerMetrics,
    probe::Probe,
};

/// Between questions while it is ready, and while it isn't.
const CALM: Duration = Duration::from_secs(2);
const EAGER: Duration = Duration::from_millis(250);
/// A component that was ready once and then fails this many liveness questions in a row, one each period, is restarted:
/// what kubelet does for upstream's static pods.
const LIVE_FAILURES: u32 = 8;
const LIVE_PERIOD: Duration = Duration::from_secs(10);

/// Watches one component.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) component: Component,
    pub(crate) probe: Probe,
    pub(crate) task: Task,
    pub(crate) metrics: RunnerMetrics,
    /// Where the component's own metrics are passed on.
    pub(crate) offered: Metrics,
}

impl Health {
    /// Follows `child` until the drain. The value is the process that is ready now.
    pub(crate) fn watch(
        self,
        child: &Arc<Child>,
        port: watch::Receiver<u16>,
        drain: &Drain,
    ) -> watch::Receiver<Option<u32>> {
        let (probe, serving) = (self.probe.clone(), port.clone());
        self.offered.pass_on(self.component.name(), move || {
            let (probe, port) = (probe.clone(), *serving.borrow());
            async move { probe.metrics(port).await }
        });
        let (publish, ready) = watch::channel(None);
        let watcher = Watcher {
            health: self,
            child: child.clone(),
            status: child.status(),
            port,
            publish,
            liveness: Liveness::default(),
        };
        drain.spawn(watcher.run());
        ready
    }
}

struct Watcher {
    health: Health,
    child: Arc<Child>,
    status: watch::Receiver<Status>,
    port: watch::Receiver<u16>,
    publish: watch::Sender<Option<u32>>,
    liveness: Liveness,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            let status = self.status.borrow_and_update().clone();
            self.health
                .metrics
                .crashes
                .set(i64::try_from(status.crashes).unwrap_or(i64::MAX));
            let resident = status
                .pid()
                .and_then(|pid| sextant_kit::process::resident_bytes(Some(pid)));
            self.health
                .metrics
                .resident
                .set(resident.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)));
            let pause = match status.pid() {
                Some(pid) => self.ask(pid).await,
                None => {
                    self.say(None, Err(status.to_string()));
                    Duration::MAX
                }
            };
            tokio::select! {
                changed = self.status.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// Asks the process and returns the pause before it should be asked again.
    async fn ask(&mut self, pid: u32) -> Duration {
        let port = *self.port.borrow();
        let answer = self
            .health
            .probe
            .ask(port, self.health.component.ready_path())
            .await;
        if self.status.borrow().pid() != Some(pid) {
            return Duration::ZERO;
        }
        if answer.is_ok() {
            self.liveness.well(pid);
        } else if self.liveness.due(pid, Instant::now()) {
            let live = self
                .health
                .probe
                .ask(port, self.health.component.live_path())
                .await;
            if self.liveness.answered(live.is_ok()) {
                let reason = live.err().unwrap_or_default();
                tracing::error!(pid, reason, "not alive any more: restarting it");
                self.child.restart().await;
            }
        }
        let pause = if answer.is_ok() { CALM } else { EAGER };
        self.say(Some(pid), answer);
        pause
    }

    fn say(&self, pid: Option<u32>, answer: Result<(), String>) {
        let ready = pid.filter(|_| answer.is_ok());
        self.health.metrics.ready.set(i64::from(ready.is_some()));
        self.publish
            .send_if_modified(|current| std::mem::replace(current, ready) != ready);
        match answer {
            Ok(()) => self.health.task.ready(),
            Err(reason) => self.health.task.waiting(reason),
        }
    }
}

/// Counts failed liveness questions of the process that was ready last.
#[derive(Debug, Default)]
struct Liveness {
    was_ready: Option<u32>,
    failures: u32,
    asked: Option<Instant>,
}

impl Liveness {
    fn well(&mut self, pid: u32) {
        *self = Self {
            was_ready: Some(pid),
            failures: 0,
            asked: None,
        };
    }

    /// Whether to ask now. A process that was never ready ends by itself when it can't start.
    fn due(&mut self, pid: u32, now: Instant) -> bool {
        let due = self.was_ready == Some(pid)
            && self
                .asked
                .is_none_or(|asked| now.duration_since(asked) >= LIVE_PERIOD);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// Whether the process should be restarted.
    fn answered(&mut self, alive: bool) -> bool {
        self.failures = if alive { 0 } else { self.failures + 1 };
        let dead = self.failures >= LIVE_FAILURES;
        if dead {
            self.failures = 0;
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_component_that_was_ready_and_stays_dead_is_restarted() {
        let start = Instant::now();
        let mut liveness = Liveness::default();
        assert!(!liveness.due(1, start));
        liveness.well(1);
        assert!(!liveness.due(2, start));
        let mut now = start;
        for _ in 1..LIVE_FAILURES {
            assert!(liveness.due(1, now));
            assert!(!liveness.due(1, now + LIVE_PERIOD / 2));
            assert!(!liveness.answered(false));
            now += LIVE_PERIOD;
        }
        assert!(!liveness.answered(true));
        for _ in 1..LIVE_FAILURES {
            assert!(!liveness.answered(false));
        }
        assert!(liveness.answered(false));
    }
}
