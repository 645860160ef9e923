//! A cluster of the compose file on an etcd: each part gets more replicas and loses them again while it is asked 200 times a
//! second, watched, and while exec and log streams go through its tunnel. It is two more replicas, for small parts nine, and
//! for kube-apiserver as many of nine as there is memory for.

use anyhow::{Context, Result, ensure};
use sextant_integration::load::{Load, Shape, Streams};
use sextant_integration::{Case, Fixture, POD, Scaled, eventually, run_cases};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const CASES: &[Case<Scaled>] = &[
    ("kube_scheduler", |scaled| {
        undisturbed(scaled, "kube-scheduler")
    }),
    ("kube_controller_manager", |scaled| {
        undisturbed(scaled, "kube-controller-manager")
    }),
    ("datastore_proxy", |scaled| {
        undisturbed(scaled, "datastore-proxy")
    }),
    ("supervisor", |scaled| {
        some_streams_end(scaled, &["supervisor"], 3)
    }),
    ("kube_apiserver", api_servers),
    ("ten_of_the_small_ones", |scaled| {
        let small = ["token-service", "datastore-proxy", "supervisor"];
        some_streams_end(scaled, &small, MOST)
    }),
];

/// The most replicas of anything.
const MOST: usize = 10;
/// What a kube-apiserver takes at most while it starts, in MiB.
const API_SERVER: u64 = 512;
/// What others on this machine are left, in MiB.
const SPARE: u64 = 2048;
/// Streams of each kind.
const STREAMS: usize = 3;
/// Requests beyond those while replicas come or go.
const MORE: usize = 300;
const SOON: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if std::env::var_os("TEST_ETCD").is_none() {
        println!("SKIP TEST_ETCD names no program");
        return ExitCode::SUCCESS;
    }
    run_cases::<OnEtcd>(CASES)
}

struct OnEtcd;

impl Fixture for OnEtcd {
    type Subject = Scaled;
    const PROJECT: &'static str = "sextant-scaled";

    fn start() -> Result<Scaled> {
        let scaled = Self::existing()?;
        scaled.start()?;
        Ok(scaled)
    }

    fn existing() -> Result<Scaled> {
        let etcd = std::env::var_os("TEST_ETCD").context("TEST_ETCD names no program")?;
        Scaled::new(Self::PROJECT, (17443, 20443), &PathBuf::from(etcd))
    }

    fn diagnosis(scaled: &Scaled) -> String {
        scaled.cluster.diagnosis()
    }

    fn remove(scaled: &Scaled) -> Result<()> {
        scaled.remove()
    }
}

/// Nothing goes through it that could end with it.
fn undisturbed(scaled: &Scaled, part: &str) -> Result<()> {
    let cuts = up_and_down(scaled, &[part], 3)?;
    ensure!(cuts == 0, "{cuts} streams were cut");
    Ok(())
}

/// A stream goes through one replica, and ends with it.
fn some_streams_end(scaled: &Scaled, parts: &[&str], most: usize) -> Result<()> {
    let cuts = up_and_down(scaled, parts, most)?;
    // All replicas but one go; a stream that ended with one of them may have come to the next that goes.
    ensure!(cuts <= 2 * (most - 1) * STREAMS, "{cuts} streams were cut");
    Ok(())
}

/// As many of ten as there is memory for, and three at least.
fn api_servers(scaled: &Scaled) -> Result<()> {
    let available = mebibytes_available()?;
    let room = usize::try_from(available.saturating_sub(SPARE) / API_SERVER)?;
    let most = (1 + room).clamp(3, MOST);
    if most < MOST {
        println!(
            "SKIP more than {most} of kube-apiserver: {available} MiB of memory are available, and {MOST} take {} MiB",
            SPARE + 9 * API_SERVER
        );
    }
    some_streams_end(scaled, &["kube-apiserver"], most)
}

fn mebibytes_available() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kibibytes: u64 = kibibytes.context("no MemAvailable")?.trim().parse()?;
    Ok(kibibytes / 1024)
}

/// 1 → `most` → 1 of each part; how many streams were cut. Both times clients come before, so that the second time they are
/// spread.
fn up_and_down(scaled: &Scaled, parts: &[&str], most: usize) -> Result<usize> {
    Ok(scale(scaled, parts, most)? + scale(scaled, parts, 1)?)
}

fn scale(scaled: &Scaled, parts: &[&str], replicas: usize) -> Result<usize> {
    let load = Load::start(&scaled.kubeconfig()?, &Shape::default())?;
    let streams = Streams::start(&scaled.cluster, POD, STREAMS);
    let went = goes_on(&load, &streams)
        .and_then(|()| scaled.scale(parts, replicas))
        .and_then(|()| goes_on(&load, &streams));
    let (streams, report) = (streams.finish(), load.finish()?);
    println!("{} to {replicas}: {report}\n{streams}", parts.join(", "));
    went?;
    ensure!(report.failed == 0, "{report}");
    ensure!(streams.failures.is_empty(), "{streams}");
    Ok(streams.cuts)
}

fn goes_on(load: &Load, streams: &Streams) -> Result<()> {
    let (answered, lines) = (
        load.answered() + MORE,
        streams.so_far().lines + 10 * STREAMS,
    );
    eventually("answers and lines of streams", SOON, || {
        let now = (load.answered(), streams.so_far().lines);
        ensure!(now.0 >= answered && now.1 >= lines, "{now:?}");
        Ok(())
    })
}
