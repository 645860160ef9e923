//! `bench-datastore`: datastore-proxy beside etcd and kine. Builds all three and has the crate `bench` measure
//! them; results go to out/bench-datastore.json and out/bench-datastore.svg.

use crate::{paths, prerequisites, run, services, upstream};
use anyhow::Result;
use std::process::Command;

/// What is handed on to the measuring program.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Cargo profile that datastore-proxy and the client are built with
    #[arg(long, default_value = "image")]
    pub profile: String,
    /// Options of the measuring program, e.g. `-- --only list,count --rounds 1`; `-- --help` shows them
    #[arg(last = true)]
    pub measure: Vec<String>,
}

/// Builds what is missing and measures.
pub fn task(options: &Options) -> Result<()> {
    prerequisites::ensure_for_benchmarks()?;
    let peers = upstream::build_peers()?;
    let programs = services::build_bench(&options.profile)?;
    let mut measure = Command::new(programs.join("sextant-bench"));
    measure
        .arg("--etcd")
        .arg(peers.program("etcd")?)
        .arg("--kine")
        .arg(peers.program("kine")?)
        .arg("--datastore-proxy")
        .arg(programs.join("datastore-proxy"))
        .arg("--out")
        .arg(paths::out())
        .args(&options.measure);
    run::through(&mut measure)
}
