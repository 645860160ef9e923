//! Ending connections that a new policy forbids.

use super::Enforcer;
use crate::conntrack;
use crate::domain::explain::still_allowed;
use crate::domain::frame::Established;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two sweeps of connections.
const SWEEP_PAUSE: Duration = Duration::from_millis(500);

impl Enforcer {
    /// Connections are judged anew soon: at once, or a short while after the last time.
    pub(super) fn plan_sweep(&mut self) {
        if self.established == Established::Cut {
            let earliest = self.swept.map(|swept| swept + SWEEP_PAUSE);
            let now = Instant::now();
            self.sweep
                .get_or_insert(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// Ends connections that are no longer allowed.
    pub(super) async fn sweep(&mut self) {
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
}
