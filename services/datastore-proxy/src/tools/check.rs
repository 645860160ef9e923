//! `check`: whether a store is what it should be.

use super::progress::Progress;
use crate::store::sqlite::inspect::{self, Report};
use clap::{Arg, value_parser};
use sextant_kit::cli::Command;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn command() -> Command {
    Command {
        clap: clap::Command::new("check")
            .about(
                "Checks a store: structure, revisions, versions, leases; also while it is served",
            )
            .arg(
                Arg::new("file")
                    .help("The store, or a snapshot; without it that of --endpoint")
                    .value_parser(value_parser!(PathBuf)),
            ),
        run: |matches, sources| {
            let file = matches.get_one::<PathBuf>("file").cloned();
            super::finish((|| {
                let path = file.map_or_else(|| super::store(sources), Ok)?;
                let report = inspect(&path)?;
                print(&path, &report);
                Ok(if report.problems.is_empty() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                })
            })())
        },
    }
}

/// Looks at the whole store, and says how far it is.
pub(super) fn inspect(path: &Path) -> anyhow::Result<Report> {
    let mut progress: Option<Progress> = None;
    let report = inspect::inspect(path, &mut |rows, total| {
        progress
            .get_or_insert_with(|| Progress::new("rows checked", total))
            .add(rows);
    })?;
    Ok(report)
}

/// Says what was found.
pub(super) fn print(path: &Path, report: &Report) {
    println!("store: {}", path.display());
    println!("revision: {}", report.revision);
    println!("compacted: {}", report.compacted);
    println!("keys: {}", report.keys);
    println!("versions: {}", report.rows);
    println!("leases: {}", report.leases);
    for problem in &report.problems {
        println!("PROBLEM {}: {}", problem.found, problem.advice);
    }
    match (report.problems.len(), report.more) {
        (0, _) => println!("no problem found"),
        (found, 0) => println!("{found} problems"),
        (found, more) => println!(
            "{} problems, the first {found} of them are shown",
            found as u64 + more
        ),
    }
}
