//! The commands of the runbooks, run while their fault is there.

use crate::{root, run};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// The commands of an alert's page: lines of its blocks, with those that they go on in.
///
/// # Errors
/// There is no such page, or it has none.
pub fn commands(alert: &str) -> Result<Vec<String>> {
    let page = format!("docs/runbooks/{alert}.md");
    let text = std::fs::read_to_string(root().join(&page)).context(page.clone())?;
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    let lines = blocks.flat_map(|block| {
        let whole = block.replace("\\\n", "");
        whole.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let lines: Vec<_> = lines.collect();
    ensure!(!lines.is_empty(), "{page} has no commands");
    Ok(lines)
}

/// Writes a program that a page names.
///
/// # Errors
/// The file can't be written.
pub fn program(folder: &Path, name: &str, script: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/bash\n{script}\n"))?;
    Ok(std::fs::set_permissions(
        &file,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

/// Runs what a page says, with the programs of `bin`; each command has to show something. `said` is what the reader has
/// to fill in, as `("PART", "token-service")`.
///
/// # Errors
/// What a command said on its error output that showed nothing.
pub fn try_out(alert: &str, bin: &Path, said: &[(&str, &str)]) -> Result<()> {
    for line in commands(alert)? {
        let command = said
            .iter()
            .fold(line, |text, (word, value)| text.replace(word, value));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-o", "pipefail", "-c", &command])
            .current_dir(root())
            .env("PATH", format!("{}:{path}", bin.display()));
        // Some fail because of what they tell, as `sextant status` does.
        let outcome = run(&mut shell, DEADLINE)?;
        let shown = match command.ends_with(" healthcheck") {
            true => &outcome.stderr,
            false => &outcome.stdout,
        };
        ensure!(
            !shown.trim().is_empty(),
            "the runbook of {alert} says `{command}`, which ends with {} and tells nothing: {}",
            outcome.code,
            outcome.stderr
        );
        println!("{alert}: {command}\n{shown}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_says_what_to_look_at() {
        for fault in crate::alerts::FAULTS {
            for command in commands(fault.alert).unwrap() {
                assert!(!command.is_empty() && !command.ends_with('\\'), "{command}");
            }
        }
    }
}
