//! Runs programs: quick ones for their output, long ones with a log file and a sign of life.

use crate::{paths, stage};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a long command says that it still runs, when nobody watches a terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Commands that take longer than this get a line of their own when they end.
const WORTH_SAYING: Duration = Duration::from_secs(3);

/// The output of a quick command, trimmed; its error output is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {shown}"))?;
    if !done.status.success() {
        bail!(
            "{shown}: {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Whether a quick command succeeds.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command whose output is the result: it goes where ours goes.
pub fn through(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs a long command: its output goes to `out/logs/<name>.log`, its last line is shown as progress, and on
/// failure the end of the log is part of the error. One that took long says so at its end.
pub fn logged(name: &str, command: &mut Command) -> Result<()> {
    let shown = show(command);
    let path = paths::log(name)?;
    let log = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let (reader, writer) = std::io::pipe().context("creating a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("duplicating a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    // The command holds the pipe's write end; without this the copy below would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let last = Arc::new(Mutex::new(String::new()));
    let copier = std::thread::spawn({
        let last = Arc::clone(&last);
        move || copy(reader, log, &last)
    });
    let status = wait(name, &mut child, &last)?;
    let _ = copier.join();
    if !status.success() {
        bail!(
            "{shown}: {status}. The end of {}:\n{}",
            path.display(),
            tail(&path, 25)
        );
    }
    if started.elapsed() >= WORTH_SAYING {
        eprintln!("      {name}: {}", stage::show(started.elapsed()));
    }
    Ok(())
}

fn copy(reader: impl std::io::Read, mut log: File, last: &Mutex<String>) {
    for line in BufReader::new(reader).lines() {
        let Ok(line) = line else { return };
        let _ = writeln!(log, "{line}");
        if let Ok(mut last) = last.lock() {
            *last = line;
        }
    }
}

fn wait(name: &str, child: &mut std::process::Child, last: &Mutex<String>) -> Result<ExitStatus> {
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut said = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for a child")? {
            if terminal {
                eprint!("\r\x1b[K");
            }
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(200));
        let line = last.lock().map(|l| l.clone()).unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).take(90).collect();
        let elapsed = stage::show(Duration::from_secs(started.elapsed().as_secs()));
        if terminal {
            // Without wrapping: the part of the line that doesn't fit could not be erased.
            eprint!(
                "\r\x1b[K\x1b[?7l      {name}, {elapsed}: {}\x1b[?7h",
                line.trim()
            );
        } else if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            eprintln!("      {name}, {elapsed}: {}", line.trim());
        }
    }
}

/// The last lines of a file, indented.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    let start = all.len().saturating_sub(lines);
    all[start..]
        .iter()
        .map(|line| format!("    {line}\n"))
        .collect()
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.len() > 160 {
        format!("{}…", line.chars().take(160).collect::<String>())
    } else {
        line
    }
}
