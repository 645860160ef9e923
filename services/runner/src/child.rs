//! Supervised child processes.
//!
//! [`Child::supervise`] starts a program and keeps it running: when it ends by itself it is started again after a
//! jittered, growing pause. Its output becomes `tracing` events with the field `child`. With [`Spec::survives`] the
//! process outlives its supervisor, and the next supervisor adopts it instead of starting a second one.
//!
//! ```no_run
//! # async fn example() {
//! use sextant_runner::child::{Child, Spec};
//! let child = Child::supervise(Spec::new("containerd", "/usr/bin/containerd").arguments(["--config", "/etc/c.toml"]));
//! let mut status = child.status();
//! let _ = status.wait_for(|status| status.pid().is_some()).await;
//! child.stop().await;
//! # }
//! ```

mod output;
mod process;
mod reaper;
mod record;
mod supervise;

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

pub use process::Exit;
pub use reaper::reap_orphans;
pub use rustix::process::Signal;

use supervise::{Command, Supervisor};

/// What to run and how to treat it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Name in log events and of the files in `survives`.
    pub name: String,
    /// Path of the program.
    pub program: PathBuf,
    /// Arguments without the program's name.
    pub arguments: Vec<String>,
    /// Added to the inherited environment.
    pub environment: Vec<(String, String)>,
    /// How long the process may take to end after SIGTERM before SIGKILL comes.
    pub grace: Duration,
    /// Pause before the first restart; doubles with each crash, with jitter.
    pub restart_base: Duration,
    /// The longest pause.
    pub restart_max: Duration,
    /// A process that ran this long was well: its next crash starts at `restart_base` again.
    pub stable_after: Duration,
    /// A folder on a tmpfs for `<name>.pid` and the log FIFO `<name>.log`: with it the process survives the end of
    /// its supervisor without losing its standard output, and [`Child::supervise`] adopts it when it still runs
    /// with the same program, arguments and environment.
    pub survives: Option<PathBuf>,
}

impl Spec {
    /// A process with no arguments, 30 s of grace, and restarts after 0.5 s to 30 s.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            grace: Duration::from_secs(30),
            restart_base: Duration::from_millis(500),
            restart_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
            survives: None,
        }
    }

    /// Sets the arguments.
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = arguments
            .into_iter()
            .map(|one| one.as_ref().to_string_lossy().into_owned())
            .collect();
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets how long SIGTERM may take.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the first and the longest pause before a restart.
    pub fn restart(mut self, base: Duration, max: Duration) -> Self {
        self.restart_base = base;
        self.restart_max = max;
        self
    }

    /// Lets the process outlive its supervisor; see the field.
    pub fn survives(mut self, folder: impl AsRef<Path>) -> Self {
        self.survives = Some(folder.as_ref().to_owned());
        self
    }
}

/// What a supervised process does now.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It ended or couldn't be started; the next attempt comes after `pause`.
    BackOff {
        /// Why it isn't running.
        reason: String,
        /// From the end to the next attempt.
        pause: Duration,
    },
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
        /// It was started by an earlier supervisor.
        adopted: bool,
    },
    /// It is being started for the first time.
    Starting,
    /// SIGTERM was sent.
    Stopping,
    /// It ended because it was told to; nothing restarts it.
    Stopped,
}

/// [`State`] and how often the process had to be started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What it does now.
    pub state: State,
    /// Restarts after a crash; a wanted restart doesn't count.
    pub crashes: u64,
}

impl Status {
    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::BackOff { reason, pause } => {
                write!(
                    f,
                    "{reason}; next attempt {:.1} s later",
                    pause.as_secs_f32()
                )
            }
            State::Running { pid, .. } => write!(f, "running as process {pid}"),
            State::Starting => f.write_str("starting"),
            State::Stopping => f.write_str("stopping"),
            State::Stopped => f.write_str("stopped"),
        }
    }
}

/// Handle of a supervised process. Dropping it stops the process, unless [`Spec::survives`] is set: then the
/// process is left to the next supervisor.
#[derive(Debug)]
pub struct Child {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

/// What a program that ends by itself writes to its standard output; an error when it fails.
pub(crate) async fn output(command: &mut tokio::process::Command) -> std::io::Result<String> {
    command.stdout(std::process::Stdio::piped());
    let child = reaper::spawn(command)?;
    let pid = child.id();
    let ended = child.wait_with_output().await;
    pid.into_iter().for_each(reaper::forget);
    let ended = ended?;
    if !ended.status.success() {
        return Err(std::io::Error::other(ended.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

impl Child {
    /// Adopts or starts the process and supervises it in a task of its own until [`Child::stop`],
    /// [`Child::detach`] or drop. Must be called inside a tokio runtime.
    pub fn supervise(spec: Spec) -> Self {
        let (commands, queue) = mpsc::channel(8);
        let (publish, status) = watch::channel(Status {
            state: State::Starting,
            crashes: 0,
        });
        tokio::spawn(Supervisor::new(spec, queue, publish).run());
        Self { commands, status }
    }

    /// Follows the process.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops the process (SIGTERM, after the grace SIGKILL) and starts `spec` instead. Returns when the old process
    /// is gone and the first attempt to start the new one was made.
    pub async fn replace(&self, spec: Spec) {
        self.ask(|done| Command::Replace(Box::new(spec), done))
            .await;
    }

    /// Stops the process as [`Child::stop`] does and starts it again at once. Counts as a crash.
    pub async fn restart(&self) {
        self.ask(Command::Restart).await;
    }

    /// Sends a signal to the running process; nothing happens when it isn't running.
    pub async fn signal(&self, signal: Signal) {
        let _ = self.commands.send(Command::Signal(signal)).await;
    }

    /// Stops the process and its supervision: SIGTERM, after the grace SIGKILL.
    pub async fn stop(&self) {
        self.ask(Command::Stop).await;
    }

    /// Ends the supervision and leaves the process running.
    pub async fn detach(&self) {
        self.ask(Command::Detach).await;
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, wait) = oneshot::channel();
        // Both fail only once the supervision has ended, and then there is nothing left to do.
        if self.commands.send(command(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}
