//! Child processes that never outlive their test.

use std::process::ExitStatus;
use std::time::Duration;

/// A child process: killed when dropped, its output captured.
#[derive(Debug)]
pub struct Process {}

impl Process {
    /// Starts `program`.
    pub fn spawn(
        program: &std::path::Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> std::io::Result<Self> {
        let _ = (program, args, env);
        unimplemented!()
    }
    /// Everything written so far, both streams.
    pub fn output(&self) -> String {
        unimplemented!()
    }
    /// Process id.
    pub fn pid(&self) -> u32 {
        unimplemented!()
    }
    /// Waits for its end; panics with the output after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let _ = deadline;
        unimplemented!()
    }
    /// Sends SIGTERM.
    pub fn terminate(&self) {}
}
