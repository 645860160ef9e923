//! Replicas of upstream's components as processes on loopback, with the cluster's own flags where those matter here:
//! kube-apiservers come and go behind the balancer of `edge` under the load of `sextant_integration::load`, and those who
//! elect a leader are killed.

mod components;
mod idle;
mod leaders;
mod servers;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use servers::Servers;
use sextant_integration::load::{Load, Report, Shape};
use std::process::ExitCode;
use std::time::Duration;

type Case = (&'static str, fn(&mut Servers) -> Result<()>);

const CASES: [Case; 4] = [
    ("servers_come_and_go_and_nobody_notices", come_and_go),
    ("a_killed_server_is_noticed", killed),
    ("a_server_that_stands_still_is_noticed", stands_still),
    ("leaders_move_on", leaders::move_on),
];

/// Beyond what is going on while a server comes or goes.
const MORE: usize = 400;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("bench-idle") {
        let options = idle::Options::parse_from(std::env::args().skip(1));
        return match idle::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let trials = CASES.map(|(name, case)| {
        Trial::test(name, move || {
            let Some(mut servers) = Servers::start().map_err(|e| Failed::from(format!("{e:#}")))?
            else {
                return Ok(());
            };
            case(&mut servers).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// 1 → 3 → 1, the first one among those that go.
fn come_and_go(servers: &mut Servers) -> Result<()> {
    servers.add()?;
    let load = Load::start(&servers.kubeconfig(), &Shape::default())?;
    servers.answered(&load, MORE)?;
    for _ in 0..2 {
        servers.add()?;
        servers.answered(&load, MORE)?;
    }
    for _ in 0..2 {
        servers.stop_first()?;
        servers.answered(&load, MORE)?;
    }
    let report = load.finish()?;
    println!("{report}");
    ensure!(report.failed == 0, "{report}");
    ensure!(report.resumed > 0, "no watch was on a server that went");
    Ok(())
}

/// The account isn't blind: requests that were under way when their server died have failed.
fn killed(servers: &mut Servers) -> Result<()> {
    let report = with_two(servers, Servers::kill_first)?;
    ensure!(report.failed > 0, "nothing failed: {report}");
    // A watch may fail to connect; it never misses an event.
    ensure!(
        !report.failures.iter().any(|text| text.contains(" told")),
        "{report}"
    );
    Ok(())
}

/// Neither is it to answers that only come late.
fn stands_still(servers: &mut Servers) -> Result<()> {
    let pause = Duration::from_secs(2);
    let report = with_two(servers, |servers| {
        servers.signal_first(Signal::SIGSTOP)?;
        // The time itself is what is tried.
        std::thread::sleep(pause);
        servers.signal_first(Signal::SIGCONT)
    })?;
    ensure!(report.failed == 0, "{report}");
    let longest = report.percentile(1.0);
    ensure!(longest >= 1000.0, "longest {longest} ms");
    Ok(())
}

fn with_two(
    servers: &mut Servers,
    what: impl FnOnce(&mut Servers) -> Result<()>,
) -> Result<Report> {
    servers.add()?;
    servers.add()?;
    let shape = Shape {
        rate: None,
        ..Shape::default()
    };
    let load = Load::start(&servers.kubeconfig(), &shape)?;
    servers.answered(&load, MORE)?;
    what(servers)?;
    servers.answered(&load, MORE)?;
    let report = load.finish().context("the load")?;
    println!("{report}");
    Ok(report)
}
