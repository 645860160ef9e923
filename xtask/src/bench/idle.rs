//! `bench-idle`: what upstream's components cost while nobody uses them, and what each of their flags saves. The test program
//! `scaling`, which starts them as processes on an etcd, measures.

use crate::{paths, run, upstream};
use anyhow::Result;
use std::process::Command;

/// What is handed on to the measuring program.
#[derive(clap::Args, Clone)]
#[group(id = "idle")]
pub struct Options {
    /// Options of the measuring program, e.g. `-- --kube-apiserver watch-cache=false`; `-- --help` shows them
    #[arg(last = true)]
    pub measure: Vec<String>,
}

/// Builds what is missing and measures.
pub fn task(options: &Options) -> Result<()> {
    let upstream = upstream::build_all()?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(paths::root())
        // What is measured is upstream's; how quickly the measuring program itself runs doesn't matter.
        .args(["test", "--quiet"])
        .args(["--package", "sextant-integration", "--test", "scaling"])
        .args(["--", "bench-idle"])
        .args(&options.measure)
        .envs(upstream.variables()?);
    run::through(&mut cargo)
}
