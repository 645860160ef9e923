//! datastore-proxy beside etcd and kine: one client sends all of them the requests that kube-apiserver sends, in
//! turns, in one run. `cargo xtask bench-datastore` builds the servers and calls this.

mod figures;
mod fsync;
mod load;
mod plot;
mod proc;
mod report;
mod section;
mod server;
mod shape;

use anyhow::{Context, Result};
use clap::Parser;
use figures::Figures;
use section::Section;
use server::{Kind, Program};
use std::path::PathBuf;
use std::time::Duration;

/// Measures datastore-proxy beside etcd and kine.
#[derive(Parser)]
struct Arguments {
    /// Program of etcd; left out without it
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// Program of kine; left out without it
    #[arg(long)]
    kine: Option<PathBuf>,
    /// Program of datastore-proxy
    #[arg(long)]
    datastore_proxy: PathBuf,
    /// Where results and, while it runs, the data are written
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    plan: Plan,
}

/// What is measured, and how long.
#[derive(clap::Args, Clone)]
struct Plan {
    /// Sections, separated by commas; all without it
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Section>,
    /// How often each server has its turn; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of one measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Numbers of clients that write at once
    #[arg(long, value_delimiter = ',', default_value = "1,32,1000")]
    clients: Vec<usize>,
    /// Objects that are listed and streamed
    #[arg(long, default_value_t = 20_000)]
    objects: usize,
    /// Keys that are counted
    #[arg(long, default_value_t = 150_000)]
    keys: usize,
    /// Watches that are open, on up to 300 connections
    #[arg(long, default_value_t = 10_000)]
    watches: usize,
    /// Revisions that are compacted
    #[arg(long, default_value_t = 1_000_000)]
    revisions: usize,
}

impl Plan {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn sections(&self) -> Vec<Section> {
        if self.only.is_empty() {
            Section::ALL.to_vec()
        } else {
            self.only.clone()
        }
    }
}

/// What a section is run with.
struct Bench {
    plan: Plan,
    programs: Vec<Program>,
    folder: PathBuf,
    figures: Figures,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        etcd,
        kine,
        datastore_proxy,
        out,
        plan,
    } = arguments;
    let programs = [
        (Kind::Etcd, etcd),
        (Kind::Kine, kine),
        (Kind::DatastoreProxy, Some(datastore_proxy)),
    ];
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    // On the disk of the checkout: what /tmp is made of is not what a datastore lies on.
    let folder = tempfile::Builder::new()
        .prefix("bench-datastore-")
        .tempdir_in(&out)
        .context("making a folder for the data")?;
    let mut bench = Bench {
        programs: programs
            .into_iter()
            .filter_map(|(kind, path)| Some(Program { kind, path: path? }))
            .collect(),
        folder: folder.path().to_owned(),
        figures: Figures::default(),
        plan,
    };
    for section in bench.plan.sections() {
        eprintln!("{section}");
        let measured = section.run(&mut bench).await;
        measured.with_context(|| format!("section {section}"))?;
    }
    report::print(&bench.figures);
    report::write(&bench.figures, &bench.plan.sections(), &out)
}
