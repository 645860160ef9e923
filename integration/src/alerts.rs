//! The alerts: which fault makes each of them fire in which test, and what their runbooks say to look at.

pub mod hasty;
pub mod runbooks;

use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// The rules, in the checkout.
pub const RULES: &str = "compose/observability/rules/sextant.yaml";

/// What happens to what.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The alert that it makes fire, and that ends with it.
    pub alert: &'static str,
    /// Where.
    pub place: Place,
    /// What is done.
    pub what: &'static str,
}

/// Where a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Processes: `tests/control_plane`.
    Plane,
    /// A compose cluster with nodes: `tests/telemetry`.
    Cluster,
}

const fn plane(alert: &'static str, what: &'static str) -> Fault {
    Fault {
        alert,
        place: Place::Plane,
        what,
    }
}

const fn cluster(alert: &'static str, what: &'static str) -> Fault {
    Fault {
        alert,
        place: Place::Cluster,
        what,
    }
}

/// All of them; docs/observability.md shows the table.
pub const FAULTS: &[Fault] = &[
    cluster(
        "ApiErrorBudgetBurn",
        "every write of ConfigMaps calls a webhook whose Service isn't there",
    ),
    plane(
        "CertificateAuthorityExpires",
        "the authorities were made almost ten years ago; then others are made",
    ),
    plane(
        "CertificateExpires",
        "token-service can't reach cert-authority while certificates live 60 s",
    ),
    plane(
        "CertificateRenewalsFail",
        "token-service can't reach cert-authority while certificates live 60 s",
    ),
    cluster(
        "ComponentCrashes",
        "kube-scheduler is killed as often as it comes back",
    ),
    plane(
        "DatastoreCompactionLate",
        "nobody compacts while objects are written",
    ),
    plane(
        "DatastoreFull",
        "objects are written until nine tenths of the quota are used",
    ),
    plane("DatastoreNoLeader", "PostgreSQL is gone"),
    plane("DatastoreSlow", "PostgreSQL takes 0.7 s for what is stored"),
    plane(
        "DatastoreWatchLag",
        "a client watches and takes no answers while objects are written",
    ),
    plane("JoinFailures", "24 joins at once with guessed tokens"),
    cluster(
        "NodeChildCrashes",
        "kube-proxy is killed as often as it comes back",
    ),
    cluster(
        "NodeSessionLost",
        "a node's packets to the join port are refused",
    ),
    plane(
        "PartNotReady",
        "token-service starts while cert-authority is gone",
    ),
    cluster(
        "PolicyNotInForce",
        "another program owns the table of a node's policies",
    ),
    plane("SupervisorNoLeader", "datastore-proxy is gone"),
    cluster("TargetDown", "the collector is stopped"),
    cluster("TelemetryLost", "the collector is stopped"),
    plane("TokenGuessing", "24 joins at once with guessed tokens"),
    cluster(
        "TunnelStalls",
        "logs of a pod are asked for whose node's packets to the join port are refused",
    ),
];

/// A test that has faults of its own has all that are listed for its place, and no others.
///
/// # Errors
/// What differs.
pub fn are_all_of(place: Place, tried: &[&str]) -> Result<()> {
    let listed = FAULTS.iter().filter(|fault| fault.place == place);
    let listed: BTreeSet<_> = listed.map(|fault| fault.alert).collect();
    let tried: BTreeSet<_> = tried.iter().copied().collect();
    let differ: Vec<_> = listed.symmetric_difference(&tried).collect();
    ensure!(
        differ.is_empty(),
        "FAULTS in integration/src/alerts.rs and the cases differ in {differ:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_norway::Value;
    use sextant_testkit::documented;

    #[test]
    fn every_alert_has_one_fault() {
        let text = std::fs::read_to_string(crate::root().join(RULES)).unwrap();
        let file: Value = serde_norway::from_str(&text).unwrap();
        let groups = file["groups"].as_sequence().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
        let mut alerts: Vec<_> = rules.map(|rule| rule["alert"].as_str().unwrap()).collect();
        alerts.sort_unstable();
        let faults: Vec<_> = FAULTS.iter().map(|fault| fault.alert).collect();
        assert_eq!(faults, alerts);
    }

    #[test]
    fn the_page_shows_the_faults() {
        let mut table = "| alert | fault | where |\n| --- | --- | --- |\n".to_owned();
        for Fault { alert, place, what } in FAULTS {
            let place = match place {
                Place::Plane => "processes",
                Place::Cluster => "cluster",
            };
            table += &format!("| [{alert}](runbooks/{alert}.md) | {what} | {place} |\n");
        }
        documented("observability.md", "faults", &table);
    }
}
