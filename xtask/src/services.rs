//! Our own programs, linked statically so that they run from scratch.

use crate::{paths, run};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The only target: glibc, linked in (it carries its name services for files and DNS since 2.34).
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Programs with the packages they come from.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("cert-authority", "cert-authority"),
    ("datastore-proxy", "datastore-proxy"),
    ("netpol-controller", "netpol-controller"),
    ("node-agent", "node-agent"),
    ("runner", "sextant-runner"),
    ("sextant", "sextant-cli"),
    ("supervisor", "supervisor"),
    ("token-service", "token-service"),
];

/// Builds all programs with a Cargo profile and returns their folder.
pub fn build(profile: &str) -> Result<PathBuf> {
    let packages: Vec<&str> = PROGRAMS.iter().map(|(_, package)| *package).collect();
    build_packages(profile, &packages)
}

/// Builds datastore-proxy and what measures it, as for the images but without the other services.
pub fn build_bench(profile: &str) -> Result<PathBuf> {
    build_packages(profile, &["datastore-proxy", "sextant-bench"])
}

/// Builds what measures a cluster whose parts are scaled.
pub fn build_bench_scale(profile: &str) -> Result<PathBuf> {
    build_packages(profile, &["sextant-integration"])
}

fn build_packages(profile: &str, packages: &[&str]) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(paths::root())
        .args([
            "build",
            "--locked",
            "--profile",
            profile,
            "--target",
            TARGET,
            "--bins",
            "--target-dir",
        ])
        .arg(target_dir())
        .args(packages.iter().flat_map(|package| ["--package", package]))
        // Given in the environment so that it replaces other flags and changes nothing for plain cargo calls.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    run::logged("build services", &mut cargo)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir().join(TARGET).join(folder))
}

/// A folder of its own, so that building images never waits for a check or a test, nor the other way round.
fn target_dir() -> PathBuf {
    paths::root().join("target/images")
}
