//! Child processes that never outlive their test.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// A child process: killed when dropped, its output captured.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    output: Arc<Mutex<String>>,
    readers: JoinSet<()>,
}

/// A grandchild may hold the pipes open after the child has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Process {
    /// Starts `program` with these arguments and, beside the test's own, these environment variables.
    pub fn spawn<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        env: &[(&str, &str)],
    ) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied());
        Self::start(command)
    }

    /// Starts a command; its output is captured whatever it says.
    pub fn start(mut command: Command) -> std::io::Result<Self> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let output = Arc::new(Mutex::new(String::new()));
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(capture(stdout, Arc::clone(&output)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(capture(stderr, Arc::clone(&output)));
        }
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            name,
            child,
            pid,
            output,
            readers,
        })
    }

    /// Everything written so far, both streams.
    pub fn output(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; panics with its output after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => {
                let said = async { while self.readers.join_next().await.is_some() {} };
                let _ = tokio::time::timeout(LAST_WORDS, said).await;
                status.expect("a status")
            }
            Err(_) => panic!(
                "{} still runs after {deadline:?}:\n{}",
                self.name,
                self.output()
            ),
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        // A process that is gone already needs no signal.
        let _ = nix::sys::signal::kill(pid, signal);
    }
}

async fn capture(mut stream: impl AsyncRead + Unpin, output: Arc<Mutex<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]);
        output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&text);
    }
}
