//! Making the kernel's table what the engine says, and keeping it so.

use super::Enforcer;
use crate::domain::diff::{Plan, diff};
use crate::domain::ruleset::Ruleset;
use crate::error::Result;
use crate::nft::kernel::Kernel;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// From a foreign change to comparing the table.
const CHECK_DELAY: Duration = Duration::from_millis(20);
/// Shortest time between two comparisons because of foreign changes.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

impl Enforcer {
    /// Makes the kernel hold what the engine says.
    pub(super) async fn settle(&mut self, started: Instant) {
        // Before everything is known, the table of an earlier run stays as it is.
        if !self.is_complete() || self.retry.is_some() {
            return;
        }
        let wanted = self.engine.ruleset().clone();
        let span = tracing::info_span!("netpol.sync", messages = tracing::field::Empty);
        let result = self.commit(&wanted, started).instrument(span.clone()).await;
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
    async fn commit(&mut self, wanted: &Ruleset, started: Instant) -> Result<usize> {
        let plan = self.applied.as_ref().map(|held| diff(Some(held), wanted));
        if plan.as_ref().is_some_and(Plan::is_empty) {
            return Ok(0);
        }
        let compile = started.elapsed().as_secs_f64();
        self.metrics.compile.observe(compile);
        let committing = Instant::now();
        let (plan, cost) = match plan {
            Some(plan) => {
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
        let took = committing.elapsed().as_secs_f64();
        self.metrics.commit.observe(took);
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
    pub(super) async fn verify(&mut self) {
        let Some(applied) = self.applied.clone() else {
            return;
        };
        self.checked = Some(Instant::now());
        match self.in_kernel(move |kernel| kernel.enforce(&applied)).await {
            Ok((plan, _)) if plan.is_empty() => self.backoff.reset(),
            Ok((plan, cost)) => {
                self.backoff.reset();
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
                self.check = Some(Instant::now() + self.backoff.next());
                tracing::warn!(%error, "the table could not be compared; trying again");
            }
        }
        self.plan_sweep();
    }

    /// The table is compared soon, since somebody else touched it: a moment later, so that a burst of changes is
    /// one, and not without end where somebody keeps changing it.
    pub(super) fn plan_check(&mut self) {
        let now = Instant::now();
        let earliest = self.checked.map_or(now, |checked| checked + CHECK_PAUSE);
        self.check.get_or_insert(earliest.max(now + CHECK_DELAY));
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
