//! Kubernetes' rule of version skew: kube-controller-manager and kube-scheduler are no newer than any kube-apiserver.

use std::cmp::Ordering;

/// A version of Kubernetes. What follows the three numbers doesn't matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let core = text.strip_prefix('v')?.split(['-', '+']).next()?;
        let mut numbers = core.split('.').map(str::parse);
        let version = Self(
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        );
        numbers.next().is_none().then_some(version)
    }
}

/// What is known of a replica of kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replica {
    /// Nothing runs at its address, or only just ends.
    Away,
    /// Why it doesn't tell its version.
    Silent(String),
    /// Its version.
    Told(String),
}

/// Why a component of version `wanted` has to wait for `replicas`, which are named by their addresses; `None` when it
/// hasn't. A version that can't be read is no newer than any.
pub fn waits_for(wanted: &str, replicas: &[(String, Replica)]) -> Option<String> {
    let version = Version::parse(wanted)?;
    let reasons: Vec<String> = replicas
        .iter()
        .filter_map(|(address, replica)| match replica {
            Replica::Away => None,
            Replica::Silent(reason) => Some(format!("{address} doesn't tell: {reason}")),
            Replica::Told(told) => match Version::parse(told).map(|told| told.cmp(&version)) {
                Some(Ordering::Less) => Some(format!("{address} has {told}")),
                Some(_) => None,
                None => Some(format!("{address} says {told:?}")),
            },
        })
        .collect();
    let all_away = replicas
        .iter()
        .all(|(_, replica)| *replica == Replica::Away);
    let reason = match reasons.as_slice() {
        [] if all_away => "none answers".to_owned(),
        [] => return None,
        reasons => reasons.join(", "),
    };
    Some(format!(
        "waiting until every kube-apiserver has {wanted}: {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(versions: &[&str]) -> Vec<(String, Replica)> {
        let replica = |(number, version): (usize, &&str)| {
            (
                format!("10.0.0.{number}"),
                Replica::Told((*version).to_owned()),
            )
        };
        versions.iter().enumerate().map(replica).collect()
    }

    #[test]
    fn waits_for_the_last_one() {
        let wanted = "v1.38.0";
        for (versions, waits) in [
            (&["v1.38.0", "v1.38.0"][..], false),
            (&["v1.38.0", "v1.38.1"], false),
            (&["v1.39.0"], false),
            (&["v1.38.0", "v1.37.9"], true),
            (&["v1.38.0", ""], true),
            (&["v1.9.9"], true),
            (&[], true),
        ] {
            let reason = waits_for(wanted, &told(versions));
            assert_eq!(reason.is_some(), waits, "{versions:?}: {reason:?}");
        }
        assert_eq!(
            waits_for(wanted, &told(&["v1.38.0", "v1.37.9"])).as_deref(),
            Some("waiting until every kube-apiserver has v1.38.0: 10.0.0.1 has v1.37.9")
        );
    }

    #[test]
    fn what_does_not_run_is_not_waited_for_unless_nothing_does() {
        let away = |mut others: Vec<_>| {
            others.push(("10.0.0.9".to_owned(), Replica::Away));
            others
        };
        assert_eq!(waits_for("v1.38.0", &away(told(&["v1.38.0"]))), None);
        assert!(waits_for("v1.38.0", &away(Vec::new())).is_some());
        let silent = Replica::Silent("no answer within 3 s".to_owned());
        assert!(waits_for("v1.38.0", &[("10.0.0.1".to_owned(), silent)]).is_some());
    }

    #[test]
    fn a_component_without_a_readable_version_waits_for_nobody() {
        for wanted in ["", "1.38.0", "v1.38", "v1.38.0.1", "vx.y.z"] {
            assert_eq!(waits_for(wanted, &[]), None, "{wanted}");
        }
        assert!(waits_for("v1.38.0-rc.1+abc", &told(&["v1.37.0"])).is_some());
    }
}
