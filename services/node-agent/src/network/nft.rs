//! The program `nft`.

use crate::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(10);

/// Where it is.
#[derive(Debug)]
pub(super) struct Nft(PathBuf);

impl Nft {
    pub(super) fn new() -> Self {
        let found = ["/usr/sbin/nft", "/usr/bin/nft", "/sbin/nft"]
            .iter()
            .find(|p| Path::new(p).exists());
        Self(found.unwrap_or(&"nft").into())
    }

    /// Applies `commands` in one transaction.
    pub(super) async fn apply(&self, commands: &str) -> Result<(), Error> {
        self.run(&["-f", "-"], commands).await
    }

    /// Removes a table if it is there, e.g. `inet sextant-node`.
    pub(super) async fn remove(&self, table: &str) -> Result<(), Error> {
        // Deleting what isn't there fails, naming it first makes it.
        self.apply(&format!("table {table}\ndelete table {table}\n"))
            .await
    }

    pub(super) async fn has(&self, table: &str) -> bool {
        let arguments: Vec<_> = ["list", "table"]
            .into_iter()
            .chain(table.split(' '))
            .collect();
        self.run(&arguments, "").await.is_ok()
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<(), Error> {
        let failed =
            |reason: String| Error::network(format!("nft {}", arguments.join(" ")), reason);
        let mut child = Command::new(&self.0)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.as_bytes())
                .await
                .map_err(|e| failed(e.to_string()))?;
        }
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
            .await
            .map_err(|_| failed("not done within 10 s".into()))?
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}
