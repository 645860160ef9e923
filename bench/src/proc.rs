//! What the kernel knows of a process.

use anyhow::{Context, Result};
use std::time::Duration;

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

fn status(pid: u32, field: &str) -> Result<f64> {
    let status = read(pid, "status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("{field} of process {pid}"))? / 1024.0)
}

/// Resident memory, in MiB.
pub fn rss(pid: u32) -> Result<f64> {
    status(pid, "VmRSS:")
}

/// The most that was resident since [`forget_peak`], in MiB.
pub fn peak(pid: u32) -> Result<f64> {
    status(pid, "VmHWM:")
}

/// Begins the measurement of [`peak`] anew.
pub fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

/// Processor time of all its threads.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    let tasks = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let path = task.context("reading a thread")?.path().join("schedstat");
        // A thread may have ended meanwhile.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let spent = text.split_whitespace().next();
        nanoseconds += spent.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}
