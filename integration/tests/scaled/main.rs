//! A cluster of the compose file on an etcd: each part gets two more replicas and loses them again while it is asked 200
//! times a second, watched, and while exec and log streams go through its tunnel.

use anyhow::{Context, Result, ensure};
use sextant_integration::load::{Load, Shape, Streams};
use sextant_integration::{Case, Fixture, POD, Scaled, eventually, run_cases};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const CASES: &[Case<Scaled>] = &[
    ("token_service", |scaled| {
        undisturbed(scaled, "token-service")
    }),
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
        some_streams_end(scaled, "supervisor")
    }),
    ("kube_apiserver", |scaled| {
        some_streams_end(scaled, "kube-apiserver")
    }),
];

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
    let cuts = up_and_down(scaled, part)?;
    ensure!(cuts == 0, "{cuts} streams were cut");
    Ok(())
}

/// A stream goes through one replica, and ends with it.
fn some_streams_end(scaled: &Scaled, part: &str) -> Result<()> {
    let cuts = up_and_down(scaled, part)?;
    // Two replicas go; a stream that ended with the first may have come to the second.
    ensure!(cuts <= 2 * 2 * STREAMS, "{cuts} streams were cut");
    Ok(())
}

/// 1 → 3 → 1; how many streams were cut. Both times clients come before, so that the second time they are spread.
fn up_and_down(scaled: &Scaled, part: &str) -> Result<usize> {
    Ok(scale(scaled, part, 3)? + scale(scaled, part, 1)?)
}

fn scale(scaled: &Scaled, part: &str, replicas: usize) -> Result<usize> {
    let load = Load::start(&scaled.kubeconfig()?, &Shape::default())?;
    let streams = Streams::start(&scaled.cluster, POD, STREAMS);
    let went = goes_on(&load, &streams)
        .and_then(|()| scaled.scale(part, replicas))
        .and_then(|()| goes_on(&load, &streams));
    let (streams, report) = (streams.finish(), load.finish()?);
    println!("{part} to {replicas}: {report}\n{streams}");
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
