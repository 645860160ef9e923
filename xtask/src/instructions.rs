//! Instructions that datastore-proxy's engine takes for a put, a get, a transaction and a watch event, counted by
//! callgrind: unlike times they are the same on a busy machine, so a change of a few percent shows.

use crate::{paths, prerequisites, run, services};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is run so few and so many times: the difference is counted. Writes are fewer than bring a checkpoint, of
/// which more or less would fall into the count by chance.
const SCENARIOS: [(&str, u64, u64); 4] = [
    ("event", 500, 2500),
    ("get", 2000, 22_000),
    ("put", 50, 200),
    ("txn", 50, 200),
];
/// In percent. What threads do while they wait for each other changes counts by half of it.
const TOLERANCE: u64 = 10;

/// Whether to compare or to renew.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Cargo profile of what is counted
    #[arg(long, default_value = "image")]
    pub profile: String,
    /// Write the counts down instead of comparing them
    #[arg(long)]
    pub update: bool,
}

/// Counts, and compares with what is written down.
pub fn task(options: &Options) -> Result<()> {
    if !prerequisites::has_valgrind() {
        eprintln!(
            "SKIP instruction counts: valgrind is not on the PATH; install Debian's package valgrind"
        );
        return Ok(());
    }
    let program = services::build_bench(&options.profile)?.join("instructions");
    let mut counts = BTreeMap::new();
    for (scenario, few, many) in SCENARIOS {
        let count = (total(&program, scenario, many)?)
            .saturating_sub(total(&program, scenario, few)?)
            / (many - few);
        eprintln!("      {scenario}: {count} instructions");
        counts.insert(scenario.to_owned(), count);
    }
    if options.update {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        return std::fs::write(file(), text)
            .with_context(|| format!("writing {}", file().display()));
    }
    compare(&counts, &known()?)
}

fn file() -> PathBuf {
    paths::root().join("bench/instructions.json")
}

fn known() -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read(file()).with_context(|| format!("reading {}", file().display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", file().display()))
}

fn total(program: &Path, scenario: &str, times: u64) -> Result<u64> {
    let written = paths::out().join("callgrind.out");
    paths::create(&paths::out())?;
    run::output(
        Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", written.display()))
            .arg(program)
            .args([scenario, &times.to_string()]),
    )?;
    let text = std::fs::read_to_string(&written).context("reading what callgrind wrote")?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))
        .and_then(|number| number.trim().parse().ok());
    total.with_context(|| format!("{} has no line “totals:”", written.display()))
}

/// An error names everything that takes more than it did.
fn compare(counts: &BTreeMap<String, u64>, known: &BTreeMap<String, u64>) -> Result<()> {
    let mut worse = Vec::new();
    for (scenario, count) in counts {
        let before = *known
            .get(scenario)
            .with_context(|| format!("{} doesn't have “{scenario}”", file().display()))?;
        if *count > before * (100 + TOLERANCE) / 100 {
            worse.push(format!("{scenario}: {count}, was {before}"));
        } else if *count < before * (100 - TOLERANCE) / 100 {
            eprintln!("      {scenario} takes less than before ({before}): renew the counts");
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    bail!(
        "more than {TOLERANCE} % more instructions than in {}: {}. If that is worth it: \
         `cargo xtask instructions --update`",
        file().display(),
        worse.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(put: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("put".to_owned(), put)])
    }

    #[test]
    fn only_what_is_beyond_the_tolerance_is_worse() {
        assert!(compare(&counts(1100), &counts(1000)).is_ok());
        assert!(compare(&counts(500), &counts(1000)).is_ok());
        let error = compare(&counts(1101), &counts(1000)).unwrap_err();
        assert!(error.to_string().contains("put: 1101, was 1000"), "{error}");
    }

    #[test]
    fn every_scenario_is_written_down() {
        let known = known().unwrap();
        assert!(
            SCENARIOS
                .iter()
                .all(|(scenario, ..)| known.contains_key(*scenario))
        );
    }
}
