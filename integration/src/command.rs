//! Runs a program with a deadline and keeps what it said.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code, −1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// The output of a program that succeeded.
    ///
    /// # Errors
    /// The program's exit code and error output, when it failed.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!(
                "exit code {}: {}{}",
                self.code,
                self.stdout,
                self.stderr.trim()
            );
        }
        Ok(self.stdout)
    }
}

/// Runs a program; kills it at the deadline.
///
/// # Errors
/// The program can't be started, or doesn't end in time.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Outcome> {
    run_with_input(command, "", deadline)
}

/// Runs a program with standard input.
///
/// # Errors
/// The program can't be started, or doesn't end in time.
pub fn run_with_input(command: &mut Command, input: &str, deadline: Duration) -> Result<Outcome> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that doesn't read its input closes it: no error of the test.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for a child")? {
            break status;
        }
        if started.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{shown} didn't end within {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    };
    Ok(Outcome {
        code: status.code().unwrap_or(-1),
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
