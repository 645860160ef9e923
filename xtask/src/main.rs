//! What people and machines run on this repository: `cargo xtask up`, `down`, `test` and the rest.

mod alerts;
mod bench;
mod cluster;
mod dashboards;
mod debian;
mod dependencies;
mod docker;
mod docs;
mod hosted;
mod images;
mod instructions;
mod paths;
mod prerequisites;
mod rootfs;
mod run;
mod services;
mod stage;
mod test;
mod upstream;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, starts and tests Sextant.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks what this machine lacks, and installs it where it can
    Prerequisites,
    /// Builds the upstream components from their Go modules
    Upstream,
    /// Builds Helm from its Go module and prints its path
    Helm,
    /// Builds all images and prints their sizes
    Images(images::Options),
    /// Builds the images of compose/observability.yaml alone
    ObservabilityImages(images::Options),
    /// Builds what is missing and starts the dev cluster
    Up(cluster::Options),
    /// Stops the dev cluster and keeps its data
    Down(cluster::Options),
    /// Stops the dev cluster and removes its data
    CleanCluster(cluster::Options),
    /// Starts the dev cluster and, in it, a hosted control plane with a node
    Hosted(hosted::Options),
    /// Measures datastore-proxy beside etcd and kine
    BenchDatastore(bench::datastore::Options),
    /// Measures hosted control planes side by side: how long they take, what they cost
    BenchFleet(bench::fleet::Options),
    /// Measures what upstream's components cost while nobody uses them, with flags that are tried
    BenchIdle(bench::idle::Options),
    /// Measures what telemetry costs: everything exported against nothing
    BenchTelemetry(bench::telemetry::Options),
    /// Measures what more replicas of each part buy
    BenchScale(bench::scale::Options),
    /// Times a warm start beside bare upstream
    BenchUp(bench::Options),
    /// Counts instructions of datastore-proxy's engine and compares with bench/instructions.json
    Instructions(instructions::Options),
    /// Writes docs/configuration.md and docs/helm-values.md from the code
    Docs(docs::Options),
    /// Writes compose/observability/dashboards and consoles from the code
    Dashboards(dashboards::Options),
    /// Checks the alert rules and runs their tests
    Alerts,
    /// Runs the whole test suite
    Test(test::Options),
}

fn main() -> ExitCode {
    // Files of the images keep their modes, and users other than root read them, whatever this shell's mask is.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let outcome = match Arguments::parse().task {
        Task::Prerequisites => prerequisites::ensure(),
        Task::Upstream => upstream::build_all().map(drop),
        Task::Helm => helm(),
        Task::Images(options) => images::task(&options),
        Task::ObservabilityImages(options) => images::observability_task(&options),
        Task::Up(options) => cluster::up(&options),
        Task::Down(options) => cluster::down(&options),
        Task::CleanCluster(options) => cluster::clean(&options),
        Task::Hosted(options) => hosted::task(&options),
        Task::BenchDatastore(options) => bench::datastore::task(&options),
        Task::BenchFleet(options) => bench::fleet::task(&options),
        Task::BenchIdle(options) => bench::idle::task(&options),
        Task::BenchTelemetry(options) => bench::telemetry::task(&options),
        Task::BenchScale(options) => bench::scale::task(&options),
        Task::BenchUp(options) => bench::up(&options),
        Task::Instructions(options) => instructions::task(&options),
        Task::Docs(options) => docs::task(&options),
        Task::Dashboards(options) => dashboards::task(&options),
        Task::Alerts => alerts::check(),
        Task::Test(options) => test::task(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn helm() -> anyhow::Result<()> {
    println!("{}", upstream::build_helm()?.program("helm")?.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
