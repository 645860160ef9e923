//! `bench-scale`: one, two and three replicas of each part under a load that stresses it. Builds the images and has
//! `sextant-integration` measure them; results go to out/bench-scale.json.

use crate::{images, paths, prerequisites, run, services, upstream};
use anyhow::Result;
use std::process::Command;

/// What is handed on to the measuring program.
#[derive(clap::Args, Clone)]
#[group(id = "scale")]
pub struct Options {
    #[command(flatten)]
    pub images: images::Options,
    /// Options of the measuring program, e.g. `-- --seconds 5`; `-- --help` shows them
    #[arg(last = true)]
    pub measure: Vec<String>,
}

/// Builds what is missing and measures.
pub fn task(options: &Options) -> Result<()> {
    prerequisites::ensure_for_tests()?;
    let upstream = upstream::build_all()?;
    let programs = services::build(&options.images.profile)?;
    images::build(&upstream, &programs)?;
    let programs = services::build_bench_scale(&options.images.profile)?;
    let mut measure = Command::new(programs.join("bench-scale"));
    measure
        .arg("--etcd")
        .arg(upstream.program("etcd")?)
        .arg("--out")
        .arg(paths::out().join("bench-scale.json"))
        .args(&options.measure);
    run::through(&mut measure)
}
