//! The whole test suite: lints, unit and component tests, then clusters made of the images.

use crate::stage::Stages;
use crate::{
    alerts, dashboards, dependencies, docs, images, instructions, paths, prerequisites, rootfs,
    run, services, upstream,
};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// Which part of the suite.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub images: images::Options,
    /// Leave out the tests that start clusters
    #[arg(long)]
    pub quick: bool,
}

/// Runs the suite; the runners' own closing lines say what passed.
pub fn task(options: &Options) -> Result<()> {
    let mut stages = Stages::new(if options.quick { 12 } else { 20 });
    let engine = stages.run("check prerequisites", prerequisites::ensure_for_tests)?;
    let outcome = suite(&mut stages, options);
    eprintln!("\n{}", stages.summary());
    let stopped = engine.map_or(Ok(()), |engine| engine.stop());
    outcome.and(stopped)
}

fn suite(stages: &mut Stages, options: &Options) -> Result<()> {
    stages.run("check formatting", || cargo(&["fmt", "--all", "--check"]))?;
    stages.run("check lints", || {
        cargo(&[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    stages.run("check dependencies", dependencies::check)?;
    let upstream = stages.run("build upstream components", upstream::build_all)?;
    let peers = stages.run("build kine", upstream::build_peers)?;
    let helm = stages.run("build helm", upstream::build_helm)?;
    let mut programs = upstream.variables()?;
    programs.extend([
        ("TEST_KINE", peers.program("kine")?),
        ("TEST_HELM", helm.program("helm")?),
        ("TEST_PROMETHEUS", rootfs::of_prometheus("prometheus")?),
    ]);
    stages.run("unit and component tests", || {
        run_tests(
            &["--workspace", "--exclude", "sextant-integration"],
            &programs,
        )
    })?;
    // The tests have just built the programs that the page is made of.
    stages.run("check generated pages", docs::check)?;
    stages.run("check dashboards and alerts", || {
        dashboards::check()?;
        alerts::check()
    })?;
    stages.run("control plane tests", || {
        let selection = [
            "--package",
            "sextant-integration",
            "--lib",
            "--test",
            "control_plane",
            "--test",
            "scaling",
        ];
        run_tests(&selection, &programs)
    })?;
    stages.run("chart tests", || {
        run_tests(
            &["--package", "sextant-integration", "--test", "hosted_chart"],
            &programs,
        )
    })?;
    if options.quick {
        return Ok(());
    }
    let built = stages.run("build images", || {
        let programs = services::build(&options.images.profile)?;
        images::build(&upstream, &programs)?;
        eprint!("{}", images::sizes()?);
        Ok(programs)
    })?;
    stages.run("check instruction counts", || {
        instructions::task(&instructions::Options {
            profile: options.images.profile.clone(),
            update: false,
        })
    })?;
    stages.run("cluster tests", || {
        run_tests(
            &["--package", "sextant-integration", "--test", "cluster"],
            &[],
        )
    })?;
    stages.run("scaling tests", || {
        run_tests(
            &["--package", "sextant-integration", "--test", "scaled"],
            &programs,
        )
    })?;
    stages.run("hosted control plane tests", || {
        run_tests(
            &["--package", "sextant-integration", "--test", "hosted"],
            &programs,
        )
    })?;
    images::observability(stages, &built)?;
    stages.run("telemetry tests", || {
        run_tests(
            &["--package", "sextant-integration", "--test", "telemetry"],
            &programs,
        )
    })
}

fn run_tests(selection: &[&str], environment: &[(&str, PathBuf)]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .current_dir(paths::root())
        .args(["test", "--locked", "--no-fail-fast"])
        .args(selection)
        .envs(environment.iter().map(|(name, path)| (name, path)));
    // The closing lines of the runners are the result.
    run::through(&mut command)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).args(arguments);
    run::through(&mut command)
}
