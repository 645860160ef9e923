//! `bench-telemetry`: what telemetry costs the control plane's processes, everything exported against nothing. The test
//! program `control_plane`, which is every service itself, measures.

use crate::{paths, run};
use anyhow::Result;
use std::process::Command;

/// What it is built with.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Cargo profile of the services
    #[arg(long, default_value = "release")]
    pub profile: String,
    /// How often each side has its turn; the table shows medians
    #[arg(long, default_value_t = 12)]
    pub rounds: u32,
}

/// Builds and measures.
pub fn task(options: &Options) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(paths::root())
        .args(["test", "--quiet", "--profile", &options.profile])
        .args([
            "--package",
            "sextant-integration",
            "--test",
            "control_plane",
        ])
        .args(["--", "bench-telemetry", &options.rounds.to_string()]);
    run::through(&mut cargo)
}
