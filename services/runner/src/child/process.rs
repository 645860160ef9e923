//! One run of a program: started here, or adopted.

use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sextant_kit::telemetry::collector;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use super::{
    Spec, output, reaper,
    record::{Record, started_ticks},
};

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was adopted, so only its parent knows.
    Unknown,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// A running process. Signals go through a pidfd, so they never reach a stranger that got the same id.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) adopted: bool,
    pub(super) since: Instant,
    pidfd: AsyncFd<OwnedFd>,
    /// None for an adopted process.
    child: Option<tokio::process::Child>,
}

impl Process {
    /// The process of an earlier supervisor when it still runs, else a new one.
    pub(super) async fn adopt_or_start(spec: &Spec) -> io::Result<Self> {
        if let Some(mut running) = Self::adopt(spec)? {
            if running.1 {
                return Ok(running.0);
            }
            tracing::info!(
                child = spec.name,
                "the running process has another command line"
            );
            running.0.stop(spec.grace).await;
        }
        Self::start(spec)
    }

    /// The recorded process when it is alive, and whether it is what `spec` wants.
    fn adopt(spec: &Spec) -> io::Result<Option<(Self, bool)>> {
        let Some((pid_file, log)) = files(spec) else {
            return Ok(None);
        };
        let Some(record) = Record::read(&pid_file) else {
            return Ok(None);
        };
        let Some(pid) = Pid::from_raw(record.pid) else {
            return Ok(None);
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(None);
        };
        // Only after the pidfd is held, so that it can't change in between.
        if started_ticks(record.pid).ok() != Some(record.started_ticks) {
            return Ok(None);
        }
        let (_, _, reader) = output::fifo(&log)?;
        output::forward(spec.name.clone(), reader);
        let process = Self {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            adopted: true,
            since: Instant::now(),
            pidfd: observe(pidfd)?,
            child: None,
        };
        Ok(Some((process, record.matches(spec))))
    }

    fn start(spec: &Spec) -> io::Result<Self> {
        let mut command = tokio::process::Command::new(&spec.program);
        for variable in collector::VARIABLES {
            command.env_remove(variable);
        }
        command
            .args(&spec.arguments)
            .envs(spec.environment.iter().cloned());
        // Its own group: a Ctrl-C at the terminal is for the supervisor, which then stops it in order.
        command.process_group(0).stdin(std::process::Stdio::null());
        let fifo = match files(spec) {
            None => {
                command
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped());
                command.kill_on_drop(true);
                None
            }
            Some((_, log)) => {
                let (stdout, stderr, reader) = output::fifo(&log)?;
                command.stdout(stdout).stderr(stderr);
                Some(reader)
            }
        };
        let mut child = reaper::spawn(&mut command)?;
        // Our copies of the child's ends.
        drop(command);
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the kernel gave no process id"))?;
        let pidfd = observe(pidfd_open(id, PidfdFlags::empty())?)?;
        if let Some((pid_file, _)) = files(spec) {
            // A process that is gone already needs no record.
            if let Ok(record) = Record::new(spec, id.as_raw_nonzero().get()) {
                record.write(&pid_file)?;
            }
        }
        if let Some(stream) = fifo {
            output::forward(spec.name.clone(), stream);
        }
        if let Some(stream) = child.stdout.take() {
            output::forward(spec.name.clone(), stream);
        }
        if let Some(stream) = child.stderr.take() {
            output::forward(spec.name.clone(), stream);
        }
        let pid = id.as_raw_nonzero().get().unsigned_abs();
        Ok(Self {
            pid,
            adopted: false,
            since: Instant::now(),
            pidfd,
            child: Some(child),
        })
    }

    /// Waits for the end. Can be cancelled and asked again.
    pub(super) async fn wait(&mut self) -> Exit {
        match &mut self.child {
            Some(child) => {
                let exit = child.wait().await.map_or(Exit::Unknown, Exit::from);
                reaper::forget(self.pid);
                exit
            }
            None => {
                // A pidfd becomes readable when its process ends, and stays so.
                let _ = self.pidfd.readable().await;
                Exit::Unknown
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd.get_ref(), signal)?)
    }

    /// Lets it run on without a supervisor.
    pub(super) fn leave(mut self) {
        if let Some(child) = self.child.take() {
            // Dropping the handle would kill a process that isn't meant to survive. Its exit status is taken by a
            // task as long as there is a runtime, then by whoever is PID 1.
            tokio::spawn(async move {
                let mut child = child;
                let _ = child.wait().await;
                reaper::forget(self.pid);
            });
        }
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Exit {
        // The only failure is that it has ended already.
        let _ = self.signal(Signal::TERM);
        if let Ok(exit) = timeout(grace, self.wait()).await {
            return exit;
        }
        tracing::warn!(
            pid = self.pid,
            ?grace,
            "didn't end in time after SIGTERM: killing it"
        );
        let _ = self.signal(Signal::KILL);
        self.wait().await
    }
}

#[expect(
    deprecated,
    reason = "the replacement is an unsafe function, for types that may close their descriptor early; OwnedFd can't"
)]
fn observe(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Pid file and log FIFO of a process that survives.
fn files(spec: &Spec) -> Option<(PathBuf, PathBuf)> {
    let folder = spec.survives.as_ref()?;
    Some((
        folder.join(format!("{}.pid", spec.name)),
        folder.join(format!("{}.log", spec.name)),
    ))
}
