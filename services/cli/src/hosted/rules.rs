//! Which upgrades are refused, and why: a pure decision.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What the chart says of a control plane, by the keys of ConfigMap `<name>-reach`.
pub type Facts = BTreeMap<String, String>;

/// Where the version of Kubernetes stands among them.
pub(super) const KUBERNETES: &str = "kubernetes";

/// What a running cluster is built on, and why it can't be another from one day to the next.
const FIXED: [(&str, &str); 4] = [
    (
        "datastore",
        "its state would stay behind: move it with `datastore-proxy migrate` (docs/datastore.md), then say so with hooks.checkUpgrade=false",
    ),
    ("domain", "Services and certificates have names in it"),
    ("podCidr", "nodes have their networks from it"),
    ("serviceCidr", "Services have their addresses from it"),
];

/// How many minor versions a kubelet may be older than kube-apiserver.
/// <https://kubernetes.io/releases/version-skew-policy/>
const KUBELET_SKEW: u32 = 3;

/// A version of Kubernetes without its patch level, which no rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Minor {
    major: u32,
    minor: u32,
}

impl FromStr for Minor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim_start_matches('v').splitn(3, '.');
        let mut number = || parts.next()?.parse().ok();
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Every reason against going from `current` to `wanted` with nodes of these `kubelets`' versions; none if it may be.
/// What an older chart didn't say is taken as it is.
#[must_use]
pub fn refusals(current: &Facts, wanted: &Facts, kubelets: &[String]) -> Vec<String> {
    let mut reasons = Vec::new();
    if let (Some(from), Some(to)) = (current.get(KUBERNETES), wanted.get(KUBERNETES)) {
        reasons.extend(versions(from, to, kubelets));
    }
    for (key, why) in FIXED {
        if let (Some(from), Some(to)) = (current.get(key), wanted.get(key))
            && from != to
        {
            reasons.push(format!("{key} can't change from {from} to {to}: {why}"));
        }
    }
    reasons
}

fn versions(from: &str, to: &str, kubelets: &[String]) -> Vec<String> {
    let mut reasons = Vec::new();
    let (Ok(old), Ok(new)) = (from.parse::<Minor>(), to.parse::<Minor>()) else {
        return vec![format!("{from} or {to} is no version of Kubernetes")];
    };
    if new < old {
        reasons.push(format!(
            "Kubernetes can't go back from {from} to {to}: what {old} has stored need not be readable for {new}"
        ));
    } else if new.major != old.major || new.minor > old.minor + 1 {
        reasons.push(format!(
            "Kubernetes goes one minor version at a time, not from {from} to {to}: first upgrade to {}.{}",
            old.major,
            old.minor + 1
        ));
    }
    for kubelet in kubelets {
        let Ok(node) = kubelet.parse::<Minor>() else {
            reasons.push(format!(
                "a node's kubelet says it is {kubelet}, which is no version"
            ));
            continue;
        };
        if node > new {
            reasons.push(format!(
                "nodes with kubelet {kubelet} would be newer than kube-apiserver {to}"
            ));
        } else if node.major != new.major || node.minor + KUBELET_SKEW < new.minor {
            reasons.push(format!(
                "nodes with kubelet {kubelet} are more than {KUBELET_SKEW} minor versions older than \
                 kube-apiserver {to}: upgrade or remove them first"
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn at(version: &str) -> Facts {
        facts(&[(KUBERNETES, version)])
    }

    #[test]
    fn one_minor_version_up_and_patches_in_both_directions() {
        for (from, to) in [
            ("v1.37.2", "v1.38.0"),
            ("v1.37.2", "v1.37.1"),
            ("v1.37.1", "v1.37.9"),
        ] {
            assert_eq!(refusals(&at(from), &at(to), &[]), [""; 0], "{from} {to}");
        }
        for (from, to) in [
            ("v1.37.2", "v1.36.9"),
            ("v1.37.2", "v1.39.0"),
            ("v1.37.2", "v2.0.0"),
        ] {
            assert_eq!(refusals(&at(from), &at(to), &[]).len(), 1, "{from} {to}");
        }
        assert_eq!(refusals(&at("v1.37.2"), &at("soon"), &[]).len(), 1);
    }

    #[test]
    fn what_a_cluster_is_built_on_stays() {
        let before = facts(&[("datastore", "sqlite"), ("podCidr", "10.244.0.0/16")]);
        let after = facts(&[
            ("datastore", "postgres"),
            ("podCidr", "10.245.0.0/16"),
            ("domain", "x"),
        ]);
        let reasons = refusals(&before, &after, &[]);
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(
            reasons[0].contains("from sqlite to postgres"),
            "{reasons:?}"
        );
        assert!(refusals(&before, &before, &[]).is_empty());
    }

    proptest! {
        /// The rule as upstream words it: a kubelet isn't newer than kube-apiserver, and at most three minors older.
        #[test]
        fn kubelets_are_at_most_three_older_and_never_newer(node in 20_u32..60, new in 30_u32..50) {
            let (from, to) = (at(&format!("v1.{new}.0")), at(&format!("v1.{new}.5")));
            let allowed = (0..=3).any(|older| node + older == new);
            let reasons = refusals(&from, &to, &[format!("v1.{node}.1")]);
            prop_assert_eq!(reasons.is_empty(), allowed, "{:?}", reasons);
        }
    }
}
