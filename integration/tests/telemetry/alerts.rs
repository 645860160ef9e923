//! Alerts on a cluster to which something happens. Each rule is tried with promtool, too.

use crate::Subject;
use anyhow::{Result, ensure};
use sextant_integration::eventually;
use std::time::Duration;

/// The rule waits two minutes; a reading and a look at the rules come on top.
const DEADLINE: Duration = Duration::from_secs(240);

const PART: &str = "collector";

pub fn a_stopped_part_is_told_until_it_is_back(subject: &Subject) -> Result<()> {
    eventually("a running part isn't told of", DEADLINE, || {
        told(subject, false)
    })?;
    subject.cluster.compose(&["stop", PART])?;
    eventually("a stopped part is told of", DEADLINE, || {
        told(subject, true)
    })?;
    subject.cluster.compose(&["start", PART])?;
    eventually("a part that is back isn't", DEADLINE, || {
        told(subject, false)
    })
}

fn told(subject: &Subject, wanted: bool) -> Result<()> {
    let firing = subject.prometheus.firing()?;
    let told = firing.contains(&("TargetDown".to_owned(), PART.to_owned()));
    ensure!(told == wanted, "{firing:?} fire");
    Ok(())
}
