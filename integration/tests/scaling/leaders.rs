//! Whoever works is killed, and another one works.

use crate::components::Standby;
use crate::servers::Servers;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sextant_integration::eventually;
use std::time::Duration;
use supervisor::domain::components::Component;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const SOON: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;

/// kube-controller-manager and kube-scheduler with the cluster's own settings of their election.
pub fn move_on(servers: &mut Servers) -> Result<()> {
    servers.add()?;
    for component in [Component::ControllerManager, Component::Scheduler] {
        let name = component.name();
        // One after the other, so that it is known which one works.
        let mut working = servers.standby(component)?;
        let mut lease = held(servers, name, None)?;
        for _ in 0..ROUNDS {
            let next = servers.standby(component)?;
            observed(&next)?;
            let killed = OffsetDateTime::now_utc();
            working.kill()?;
            let moved = held(servers, name, Some(&lease.holder))?;
            ensure!(
                moved.transitions == lease.transitions + 1 && moved.acquired > lease.renewed,
                "{name}: {lease:?}, then {moved:?}"
            );
            let took = moved.acquired - killed;
            println!(
                "{name}: another one works {:.1} s after the kill",
                took.as_seconds_f64()
            );
            (working, lease) = (next, moved);
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Lease {
    holder: String,
    acquired: OffsetDateTime,
    renewed: OffsetDateTime,
    transitions: i64,
}

/// The lease, once somebody but `before` holds it.
fn held(servers: &Servers, name: &str, before: Option<&str>) -> Result<Lease> {
    eventually(&format!("another holder of {name}"), SOON, || {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}");
        let lease = servers.kubectl(&["get", "--raw", &path])?.ok()?;
        let lease: Value = serde_json::from_str(&lease)?;
        let spec = &lease["spec"];
        let text = |key: &str| {
            let text = spec[key].as_str();
            text.with_context(|| format!("no {key}: {spec}"))
        };
        let holder = text("holderIdentity")?.to_owned();
        ensure!(!holder.is_empty() && before != Some(&holder), "{spec}");
        Ok(Lease {
            holder,
            acquired: OffsetDateTime::parse(text("acquireTime")?, &Rfc3339)?,
            renewed: OffsetDateTime::parse(text("renewTime")?, &Rfc3339)?,
            transitions: spec["leaseTransitions"].as_i64().unwrap_or_default(),
        })
    })
}

/// Waits until it stands by: it has looked at the lease.
fn observed(standby: &Standby) -> Result<()> {
    eventually("a replica that stands by", SOON, || {
        let said = standby.said()?;
        let asked = said.contains("Attempting to acquire leader lease");
        ensure!(asked, "{said}");
        Ok(())
    })
}
