//! The alert rules: each has what somebody needs who is woken by it, and a test that it fires and that it doesn't.

use crate::{paths, rootfs, run};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const RULES: &str = "compose/observability/rules/sextant.yaml";
const TESTS: &str = "compose/observability/rules-tests/sextant.yaml";
const RUNBOOKS: &str = "docs/runbooks";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<serde_norway::Value>,
}

/// Compares rules, tests and runbooks, then has promtool check the one and run the other.
pub fn check() -> Result<()> {
    described()?;
    tested()?;
    let promtool = rootfs::of_prometheus("promtool")?;
    for (command, file) in [("check", RULES), ("test", TESTS)] {
        run::output(
            Command::new(&promtool)
                .current_dir(paths::root())
                .args([command, "rules", file]),
        )?;
    }
    eprintln!("      {} alerts", names()?.len());
    Ok(())
}

/// The names of all alerts.
pub fn names() -> Result<BTreeSet<String>> {
    Ok(rules()?.into_iter().map(|rule| rule.alert).collect())
}

fn rules() -> Result<Vec<Rule>> {
    let rules: Rules = serde_norway::from_str(&read(RULES)?).context(RULES)?;
    Ok(rules.groups.into_iter().flat_map(|g| g.rules).collect())
}

fn described() -> Result<()> {
    for Rule {
        alert,
        labels,
        annotations,
    } in rules()?
    {
        let severity = labels.get("severity").map(String::as_str);
        ensure!(
            matches!(severity, Some("critical" | "warning")),
            "{RULES}: {alert} has the severity {severity:?}, not critical or warning"
        );
        for field in ["summary", "description"] {
            ensure!(
                annotations.contains_key(field),
                "{RULES}: {alert} has no {field}"
            );
        }
        let page = format!("{RUNBOOKS}/{alert}.md");
        ensure!(
            annotations.get("runbook_url") == Some(&page),
            "{RULES}: the runbook_url of {alert} isn't {page}"
        );
    }
    let (alerts, pages) = (names()?, pages()?);
    ensure!(
        alerts == pages,
        "{RUNBOOKS} has pages without an alert, or lacks some: {:?}",
        alerts.symmetric_difference(&pages).collect::<Vec<_>>()
    );
    Ok(())
}

fn pages() -> Result<BTreeSet<String>> {
    let folder = paths::root().join(RUNBOOKS);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {RUNBOOKS}"))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".md")?.to_owned())
    });
    Ok(names.filter(|name| name != "README").collect())
}

/// Each alert has a test in which it fires, and one in which it doesn't.
fn tested() -> Result<()> {
    let tests: Tests = serde_norway::from_str(&read(TESTS)?).context(TESTS)?;
    let all = || tests.tests.iter().flat_map(|test| &test.alert_rule_test);
    for alert in names()? {
        for fires in [true, false] {
            ensure!(
                all().any(|test| test.alertname == alert && test.exp_alerts.is_empty() != fires),
                "{TESTS}: no test in which {alert} {}",
                if fires { "fires" } else { "stays quiet" }
            );
        }
    }
    Ok(())
}

fn read(file: &str) -> Result<String> {
    let path = paths::root().join(file);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_alert_is_described_and_tested() {
        super::described().unwrap();
        super::tested().unwrap();
    }
}
