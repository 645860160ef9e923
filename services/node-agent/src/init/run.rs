//! The life of PID 1.

use super::{cgroup, mounts, reap};
use crate::error::Error;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sextant_kit::backoff::Backoff;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// An agent that ran this long was well.
const STABLE: Duration = Duration::from_secs(60);
/// Time for the agent to end its sessions.
const AGENT_GRACE: Duration = Duration::from_secs(4);
/// Time for pods and everything else after SIGTERM; engines give ten seconds in all by default.
const GRACE: Duration = Duration::from_secs(5);

/// Prepares the container and runs the agent until SIGTERM. `arguments` go to the agent's `serve`.
pub fn main(arguments: Vec<String>) -> ExitCode {
    if let Err(error) = prepare() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let run = runtime.and_then(|runtime| runtime.block_on(run(&arguments)));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: init: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(), Error> {
    let before = mounts::list()?;
    mounts::ensure_tmpfs(&before, "/run", "mode=0755")?;
    mounts::ensure_tmpfs(&before, "/tmp", "mode=1777")?;
    mounts::ensure_tmpfs(&before, "/var/lib/cni", "mode=0700")?;
    cgroup::set_up(&before)?;
    mounts::share_all()
}

async fn run(arguments: &[String]) -> std::io::Result<()> {
    let mut child = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));
    loop {
        let started = Instant::now();
        let agent = start(arguments)?;
        let ended = loop {
            tokio::select! {
                _ = child.recv() => {
                    if let Some(status) = reap::reap(Some(agent)) { break status }
                }
                _ = terminate.recv() => return stop(agent).await,
                _ = interrupt.recv() => return stop(agent).await,
            }
        };
        if started.elapsed() >= STABLE {
            backoff.reset();
        }
        let pause = backoff.next();
        eprintln!("the agent ended ({ended:?}); pods run on, the next agent starts in {pause:?}");
        let restart = sleep(pause);
        tokio::pin!(restart);
        loop {
            tokio::select! {
                () = &mut restart => break,
                _ = child.recv() => { reap::reap(None); }
                _ = terminate.recv() => return end_all().await,
                _ = interrupt.recv() => return end_all().await,
            }
        }
    }
}

/// The agent is this binary; its output is the container's.
fn start(arguments: &[String]) -> std::io::Result<Pid> {
    let child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::inherit())
        .spawn()?;
    // `child` isn't waited for: everything that ends is reaped in one place.
    i32::try_from(child.id())
        .map(Pid::from_raw)
        .map_err(std::io::Error::other)
}

/// Lets the agent say goodbye, then ends the rest.
async fn stop(agent: Pid) -> std::io::Result<()> {
    let _ = kill(agent, Signal::SIGTERM);
    let deadline = Instant::now() + AGENT_GRACE;
    while Instant::now() < deadline && reap::reap(Some(agent)).is_none() {
        sleep(Duration::from_millis(20)).await;
    }
    end_all().await
}

/// SIGTERM to every process of the container, pods included; what is left then, the kernel ends with PID 1.
async fn end_all() -> std::io::Result<()> {
    // Only PID 1 owns all the processes it can see.
    if std::process::id() != 1 {
        return Ok(());
    }
    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && !reap::is_alone() {
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
