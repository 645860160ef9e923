//! This program as another one, at any time of day.

use anyhow::Result;
use std::path::PathBuf;

/// This program under another name, with nothing of our environment that a service would read.
pub fn called(name: &str) -> Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg0(name).env_clear();
    Ok(command)
}

/// libfaketime, where Debian has it.
fn faketime() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let library = |folder| format!("/usr/lib/{folder}/faketime/libfaketimeMT.so.1").into();
    folders
        .into_iter()
        .map(library)
        .find(|path: &PathBuf| path.exists())
}

/// Lets a process see another time of day; its timers run as always.
pub fn shift_clock(command: &mut tokio::process::Command, offset: Option<&str>) {
    if let Some((offset, library)) = offset.zip(faketime()) {
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", offset)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Why cases with another time of day can't run here.
pub fn no_faketime() -> bool {
    let missing = faketime().is_none();
    if missing {
        println!("SKIP libfaketime isn't there: install Debian's package faketime");
    }
    missing
}
