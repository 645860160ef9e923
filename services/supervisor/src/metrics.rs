//! The supervisor's own metrics.

mod nodes;

pub use nodes::NodeMetrics;

use crate::refusal::RefusalCode;
use crate::session::Hub;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sextant_kit::Metrics;

/// Connections through the tunnel.
#[derive(Clone, Debug, Default)]
pub struct TunnelMetrics {
    open: Gauge,
    connections: Counter,
    failures: Counter,
    up: Counter,
    down: Counter,
}

/// Counts as open until dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl TunnelMetrics {
    /// Registered metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "tunnel_open_connections",
                "Tunnel connections that are open",
                own.open.clone(),
            );
            registry.register(
                "tunnel_connections",
                "Tunnel connections that were opened",
                own.connections.clone(),
            );
            registry.register(
                "tunnel_open_failures",
                "Tunnel connections that no node opened: it has no session, or didn't answer in time",
                own.failures.clone(),
            );
            registry.register(
                "tunnel_from_nodes_bytes",
                "Bytes that came from nodes",
                own.up.clone(),
            );
            registry.register(
                "tunnel_to_nodes_bytes",
                "Bytes sent to nodes",
                own.down.clone(),
            );
        });
        own
    }

    pub(crate) fn opened(&self) -> OpenConnection {
        self.connections.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    pub(crate) fn count_up(&self, bytes: usize) {
        self.up.inc_by(bytes as u64);
    }

    pub(crate) fn count_down(&self, bytes: usize) {
        self.down.inc_by(bytes as u64);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What one replica is among all of them.
#[derive(Clone, Debug, Default)]
pub struct ReplicaMetrics {
    leads: Gauge,
    sessions: Gauge,
}

impl ReplicaMetrics {
    /// Registered metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "supervisor_is_leader",
                "1 while this replica does what one alone must do",
                own.leads.clone(),
            );
            registry.register(
                "supervisor_node_sessions",
                "Nodes with a session at this replica",
                own.sessions.clone(),
            );
        });
        own
    }

    /// Counts as the leader until the returned value is dropped.
    pub(crate) fn leading(&self) -> Leading {
        self.leads.set(1);
        Leading(self.leads.clone())
    }

    /// Follows the number of sessions until the hub is gone.
    pub(crate) async fn follow(self, hub: Hub) {
        let mut sessions = hub.watch();
        loop {
            let count = sessions.borrow_and_update().len();
            self.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
            if sessions.changed().await.is_err() {
                return;
            }
        }
    }
}

/// This replica leads.
#[derive(Debug)]
pub(crate) struct Leading(Gauge);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

/// Calls of the join API that are counted.
const JOIN_CALLS: [&str; 3] = ["enroll", "join", "rejoin"];

/// Answers of the join API by outcome.
#[derive(Clone, Debug, Default)]
pub struct JoinMetrics {
    outcomes:
        prometheus_client::metrics::family::Family<Vec<(&'static str, &'static str)>, Counter>,
}

impl JoinMetrics {
    /// Registered metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("joins", "Answers of the join API", own.outcomes.clone());
        });
        // Prometheus sees no increase in a series whose first value isn't zero.
        for call in JOIN_CALLS {
            let refusals = RefusalCode::ALL.iter().map(|code| code.as_str());
            for outcome in refusals.chain(["ok"]) {
                own.outcomes
                    .get_or_create_owned(&vec![("call", call), ("outcome", outcome)]);
            }
        }
        own
    }

    pub(crate) fn count(&self, call: &'static str, outcome: &'static str) {
        self.outcomes
            .get_or_create(&vec![("call", call), ("outcome", outcome)])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_testkit::eventually;
    use std::time::Duration;

    #[test]
    fn answers_of_the_join_api_are_counted_from_zero_on() {
        let metrics = Metrics::new();
        let own = JoinMetrics::new(&metrics);
        own.count("join", "token_unknown");
        let text = metrics.encode().unwrap();
        for line in [
            "sextant_joins_total{call=\"join\",outcome=\"token_unknown\"} 1\n",
            "sextant_joins_total{call=\"join\",outcome=\"ok\"} 0\n",
            "sextant_joins_total{call=\"rejoin\",outcome=\"unavailable\"} 0\n",
            "sextant_joins_total{call=\"enroll\",outcome=\"enrolment_refused\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} isn't in {text}");
        }
    }

    #[tokio::test]
    async fn a_replica_tells_its_sessions_and_whether_it_leads() {
        let metrics = Metrics::new();
        let own = ReplicaMetrics::new(&metrics);
        let hub = Hub::default();
        tokio::spawn(own.clone().follow(hub.clone()));
        let session = hub.open("a", 1);
        let leading = own.leading();
        told(&metrics, 1).await;
        drop((session, leading));
        told(&metrics, 0).await;
    }

    async fn told(metrics: &Metrics, count: u8) {
        let wanted = ["supervisor_is_leader", "supervisor_node_sessions"]
            .map(|name| format!("sextant_{name} {count}\n"));
        eventually(Duration::from_secs(5), "both gauges", || async {
            let text = metrics.encode().unwrap();
            match wanted.iter().all(|line| text.contains(line)) {
                true => Ok(()),
                false => Err(text),
            }
        })
        .await;
    }
}
